FROM a
ENV X=abc/def.tar.gz Y="q r"
LABEL a="${X%.*}" b=${X##*/} c="${Y/ /_}" d=${X//b/x} e=${N:-${Y}}
ENV Z="\"$X\"" W='$X' V=a\ b
COPY $X ${Y} /d
USER ${U:-7}:${G:-8}
WORKDIR $X
VOLUME $X
EXPOSE ${P:-80}
RUN printf "%s" '$X' "${X}"
RUN ["a", "$X"]
HEALTHCHECK --interval=1h2m3.5s --timeout=300ms --start-period=1500us CMD ["x","y z"]
STOPSIGNAL RTMIN+3
LABEL "multi word"=x y='a "b"'
ENV K=é\é
ARG B="q $Y"
RUN a
CMD ["a\tb", "é\u0001"]
