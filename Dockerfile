# syntax=docker/dockerfile:1

# The page.
FROM node:22-bookworm-slim AS page
WORKDIR /build/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

# The server, with the page inside.
FROM rust:1.95-bookworm AS server
WORKDIR /build
COPY . .
COPY --from=page /build/web/dist web/dist
# Cargo goes by times, and what is cached may be of a build of other, younger files.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --release --locked -p promptroom \
    && cp target/release/promptroom /usr/local/bin/promptroom

FROM debian:bookworm-slim
# Certificates for the providers' addresses, curl for the health check.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home promptroom \
    && install --directory --owner=promptroom --group=promptroom --mode=0700 /data
COPY --from=server /usr/local/bin/promptroom /usr/local/bin/promptroom
USER promptroom
ENV PROMPTROOM_LISTEN=0.0.0.0:8080 \
    PROMPTROOM_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
# Alive, not ready: a node that drains, or whose database is away, must not be killed for it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "--output", "/dev/null", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["promptroom"]
CMD ["serve"]
