ARG V=3
FROM debian:$V AS build
ARG V
ARG X=1
ENV A=b C="d e"
WORKDIR /src
COPY a.c b.c ./
COPY --chown=www:grp --chmod=755 *.sh /usr/bin/
RUN --mount=type=cache,target=/root/.cache,sharing=locked --mount=type=bind,source=x,target=/x --mount=type=tmpfs,target=/tmp,size=1m make $A
RUN ["echo","hi there"]
RUN <<EOT
echo a
echo b
EOT
RUN <<EOT
#!/usr/bin/env python
print(1)
EOT
RUN cat <<A >/f && cat <<B
one
A
two
B
COPY <<F1 <<"F2" /docs/
a $A
F1
b $A
F2
ADD x.tar.gz /opt/
USER 1000
WORKDIR rel
FROM scratch
COPY --from=build --link /src/out /out
COPY --from=busybox /bin/sh /bin/sh
COPY --from=build /src/a /src/b /d/
EXPOSE 80 443/udp 8000-8001
VOLUME /data /x
LABEL a=b "c d"="e f"
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --retries=3 CMD curl localhost
ENTRYPOINT ["/out", "x\"y"]
CMD echo hi
SHELL ["/bin/bash","-c"]
ONBUILD RUN echo hi
