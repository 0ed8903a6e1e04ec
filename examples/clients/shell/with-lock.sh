#!/bin/sh
# Runs a command under a cluster-wide lock, by the msync sidecar of this pod: with-lock.sh NAME COMMAND [ARGUMENT...]
#
# The command finds the fencing token in MSYNC_FENCING_TOKEN. It is ended (SIGTERM) when the lock is lost, and the exit
# code is 75 then. Needs a POSIX shell, curl and awk. Times are measured with `date`, so a clock that is set hurts.
set -u
[ $# -ge 2 ] || { echo "usage: $0 NAME COMMAND [ARGUMENT...]" >&2 && exit 64; }
name=$1 && shift
url=${MSYNC_URL:-http://localhost:8080}/locks/$name
client=${MSYNC_CLIENT_ID:-$(hostname)-$$}
ttl=${MSYNC_TTL:-30}   # so many seconds after the last beat the lock goes to others
wait=${MSYNC_WAIT:-60} # of one request in the queue; then it is repeated
pause=$((ttl / 3))
dir=$(mktemp -d) || exit 73
trap 'rm -rf "$dir"' EXIT

# Waits for a process and returns its exit code: a signal ends `wait`, but not what is waited for.
await() {
    wait "$1"
    code=$?
    while kill -0 "$1" 2>/dev/null; do
        wait "$1"
        code=$?
    done
    return $code
}

# Sends METHOD QUERY within SECONDS; sets status (000: no answer) and, when the lock is ours, token and deadline.
ask() {
    sent=$(date +%s)
    curl --silent --noproxy '*' --request "$1" --max-time "$3" --header "Msync-Client-Id: $client" --output /dev/null \
        --dump-header "$dir/head" --write-out '%{http_code}' "$url$2" >"$dir/status" &
    asking=$!
    await "$asking"
    status=$(cat "$dir/status")
    if [ "$1 $status" = 'PUT 200' ]; then
        token=$(field msync-fencing-token)
        remaining=$(field msync-remaining-seconds)
        deadline=$((sent + ${remaining%.*}))
    fi
}

field() {
    tr -d '\r' <"$dir/head" | awk -F ': *' -v name="$1" 'tolower($1) == name { print $2 }'
}

# Keeps the lock until SIGTERM, which lets a request that is under way end; or until it is lost, which ends the work.
beat() {
    next=$pause
    over=
    trap 'over=1; kill "$nap" 2>/dev/null' TERM
    while [ -z "$over" ]; do
        sleep "$next" &
        nap=$!
        wait "$nap"
        [ -z "$over" ] || return 0
        ask PUT "?ttl=$ttl" "$pause"
        next=$pause
        case $status in
        200) continue ;;
        000 | 408 | 503) next=1 && [ "$(date +%s)" -lt "$deadline" ] && continue ;;
        esac
        echo "$client lost $name" >&2
        : >"$dir/lost"
        kill "$work" 2>/dev/null
        return 0
    done
}

# The connection ends with curl, and that leaves the queue; but it may have been granted in this very moment.
trap 'kill "$asking" 2>/dev/null; ask DELETE "" "$pause"; exit 143' TERM INT
while ask PUT "?wait=$wait&ttl=$ttl" $((wait + 10)); [ "$status" != 200 ]; do
    case $status in
    409) ;; # somebody else had it all the while
    000 | 408 | 503) echo "the sidecar answers $status, trying again" >&2 && sleep 1 ;;
    *) echo "$url: $status" >&2 && exit 69 ;;
    esac
done

echo "$client holds $name, fencing token $token"
exec 3<&0 # what is started in the background has no input otherwise
MSYNC_FENCING_TOKEN=$token "$@" <&3 &
work=$!
trap 'kill "$work" 2>/dev/null' TERM INT
beat >/dev/null &
beats=$!
await "$work"
result=$?
[ $result -ne 0 ] || echo "$client is done"

kill "$beats" 2>/dev/null
await "$beats"
# Without an answer it ends by its ttl; 404 and 403 say that it has ended already.
ask DELETE '' "$pause"
[ ! -e "$dir/lost" ] || exit 75
exit $result
