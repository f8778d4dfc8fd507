FROM a
RUN a <<EOF && b
text
EOF
RUN <<A <<B
a
A
b
B
RUN 3<<EOF cat /dev/fd/3
x
EOF
RUN <<EOF cat
y
EOF
