FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=${VERSION}" -o /out/eos-proxy ./cmd/eos-proxy

# Nothing but the program, certificates and the user nonroot (65532). There is no PostgreSQL in it: give
# EOS_DATABASE_URL. Health is for the orchestrator to ask: GET /healthz and /readyz.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/eos-proxy /usr/local/bin/eos-proxy
COPY LICENSE /LICENSE
ENV EOS_LISTEN=0.0.0.0:8080
EXPOSE 8080
USER nonroot
ENTRYPOINT ["/usr/local/bin/eos-proxy", "serve"]
