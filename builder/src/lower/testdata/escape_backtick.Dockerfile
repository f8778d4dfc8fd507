# escape=`
FROM windows AS Base
RUN dir c:\ `
  && echo `$X
ENV P=c:\x`$y
LABEL legacy value here
ENV legacy  value  $P
MAINTAINER me <x@y>
