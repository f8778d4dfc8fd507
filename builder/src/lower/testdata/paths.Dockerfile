FROM scratch
ENV A=1
ENV B=2
ENV A=3
ARG B=9
WORKDIR /a/b
WORKDIR ../../../x
COPY --chmod=u=rwX,go=rX a/../../b /z/y/.
COPY . .
COPY ["a b", "x/"]
RUN echo $A "$B" $UNSET \
  # c
  && true
WORKDIR /
