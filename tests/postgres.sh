#!/bin/bash
# A private Postgres on a free port, for all tests of one run. nextest runs this once before the tests that need it
# and takes the URL from NEXTEST_ENV; by hand: `tests/postgres.sh PID` prints the URL.
# The server ends, and its data goes, as soon as the process PID (nextest itself, if none is named) is gone.
set -euo pipefail

owner="${1:-$PPID}"
bin="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)"
[ -n "$bin" ] || bin="$(dirname "$(command -v postgres || command -v initdb || true)")"
[ -x "$bin/postgres" ] || { echo "the tests need Postgres (Debian: apt-get install postgresql-15)" >&2; exit 1; }

# Postgres refuses to be root.
as=()
if [ "$(id -u)" = 0 ]; then
  user="$(getent passwd postgres nobody | head -1 | cut -d: -f1)"
  as=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups)
fi

home="$(mktemp -d "${TMPDIR:-/tmp}/promptroom-postgres-XXXXXX")"
trap 'rm -rf "$home"' ERR
[ "${#as[@]}" = 0 ] || chown "$user" "$home"
cd "$home"
"${as[@]}" "$bin/initdb" --pgdata "$home/data" --auth trust --username promptroom --encoding UTF8 --locale C \
  --no-sync --no-instructions >"$home/initdb.log" 2>&1 || { cat "$home/initdb.log" >&2; false; }

# Nothing here survives a crash of the machine, nor should it.
settings=(-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c shared_buffers=32MB
  -c fsync=off -c full_page_writes=off -c max_wal_size=256MB -c wal_level=minimal -c max_wal_senders=0
  -c log_min_messages=warning)

port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
# The one that watches has no output of ours open: nobody who reads it waits for the server's end.
(
  "${as[@]}" "$bin/postgres" -D "$home/data" -p "$port" "${settings[@]}" &
  server=$!
  while kill -0 "$owner" && kill -0 "$server"; do sleep 0.2; done
  kill -QUIT "$server"
  wait "$server"
  rm -rf "$home"
) </dev/null >"$home/postgres.log" 2>&1 &
watcher=$!
until "$bin/pg_isready" -q -U promptroom -d postgres -h 127.0.0.1 -p "$port"; do
  kill -0 "$watcher" 2>/dev/null || { echo "Postgres did not start" >&2; exit 1; }
  sleep 0.05
done

url="postgres://promptroom@127.0.0.1:$port/postgres"
[ -z "${NEXTEST_ENV:-}" ] || echo "PROMPTROOM_TEST_POSTGRES=$url" >>"$NEXTEST_ENV"
echo "$url"
