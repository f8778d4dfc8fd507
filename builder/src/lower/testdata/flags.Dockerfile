FROM alpine
WORKDIR /q
RUN --mount=type=bind,target=. --mount=type=cache,id=x,target=c,uid=5,mode=0700 --mount=target=/t,from=busybox,source=/bin,rw ls
RUN --network=none x
COPY --parents a/./b/c d/*.txt /dst/
COPY --exclude=*.md --exclude=x . /dst
ADD --unpack=false a.tar /x
ADD --chown=1:2 --chmod=0600 a b c /x/
COPY --chown=root foo /foo
COPY --chown=user: foo /foo
COPY f* /
SHELL ["/bin/bash", "-ec"]
RUN x
CMD y
EXPOSE 10-12/udp
EXPOSE 127.0.0.1:80:8080
STOPSIGNAL 9
