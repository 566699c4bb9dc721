# The image is the static binary alone: "make build" comes first.
FROM scratch
COPY bin/kvorum /kvorum
ENTRYPOINT ["/kvorum"]
CMD ["server"]
