#!/usr/bin/awk -f
# Shortens a build's log: the steps' own lines whole, of their output the last few.
/^#[0-9]+ ([0-9.]+ )/ {
    count++
    if (count > 4) { hidden++; next }
    print substr($0, 1, 110); fflush(); next
}
{
    if (hidden > 0) { print "        … " hidden " more lines"; hidden = 0 }
    count = 0
    print substr($0, 1, 110); fflush()
}
