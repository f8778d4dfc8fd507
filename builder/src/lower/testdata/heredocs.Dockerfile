FROM a AS x
RUN y
FROM x AS z
FROM b AS unused
RUN never
FROM z
COPY --from=x / /
RUN <<-EOF
	#!/bin/sh
	echo $HOME
	EOF
COPY <<-EOF a.txt /q
	tab $PATH 'x' "y"
EOF
COPY <<X$Y <<'b' /z/
1 $PATH \$PATH
X$Y
2 $PATH
b
