#!/bin/sh
# The C program behind, nginx in front.
/usr/local/bin/hello &
exec nginx
