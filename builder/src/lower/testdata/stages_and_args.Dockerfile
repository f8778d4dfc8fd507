ARG IMG=alpine
ARG TAG=${IMG:+3}
FROM ${IMG}:${TAG} AS one
ARG IMG
ARG LOCAL=x${IMG}y
ARG NOVALUE
ENV Z=$LOCAL
ONBUILD RUN echo trig
ONBUILD COPY --from=one /a /b
RUN one
FROM one AS two
RUN two $LOCAL
COPY --from=0 /x /y
FROM two
USER nobody:nogroup
WORKDIR /w
RUN three
CMD three "$Z"
ENTRYPOINT exec x
HEALTHCHECK NONE
VOLUME ["/a b", "/c"]
