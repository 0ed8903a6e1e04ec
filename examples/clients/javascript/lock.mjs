#!/usr/bin/env node
// Works under a cluster-wide lock, by the msync sidecar of this pod: lock.mjs NAME [SECONDS]
// Node 20 or newer, no packages.
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const BASE = process.env.MSYNC_URL ?? "http://localhost:8080";
const CLIENT = process.env.MSYNC_CLIENT_ID ?? `${hostname()}-${process.pid}`;
const TTL = Number(process.env.MSYNC_TTL ?? 30); // so many seconds after the last beat the lock goes to others
const WAIT = Number(process.env.MSYNC_WAIT ?? 60); // of one request in the queue; then it is repeated
const AGAIN = [null, 408, 503]; // no answer, heard too late, or no locks to be had just now

const now = () => performance.now() / 1000;

/** Waits for the lock, does the work under it and releases it. `work(token, signal)`: the signal is aborted on loss. */
async function withLock(name, work, stop = new AbortController().signal) {
  let token;
  let deadline = Infinity; // until when it is safely ours

  // The status of one request, null if there is no answer.
  async function ask(method, query, patience, signal) {
    const sent = now();
    const limit = AbortSignal.timeout(Math.max(1, Math.ceil(1000 * Math.min(patience, deadline - sent))));
    try {
      const answer = await fetch(`${BASE}/locks/${name}${query}`, {
        method,
        headers: { "Msync-Client-Id": CLIENT },
        signal: signal ? AbortSignal.any([limit, signal]) : limit,
      });
      await answer.arrayBuffer(); // so that the connection can be used again
      if (method === "PUT" && answer.ok) {
        token = BigInt(answer.headers.get("Msync-Fencing-Token")); // has up to 64 bits
        deadline = sent + Number(answer.headers.get("Msync-Remaining-Seconds"));
      }
      return answer.status;
    } catch (error) {
      signal?.throwIfAborted(); // the connection is closed by then, which leaves the queue
      return null;
    }
  }

  async function acquire() {
    for (;;) {
      const status = await ask("PUT", `?wait=${WAIT}&ttl=${TTL}`, WAIT + 10, stop);
      if (status === 200) return;
      if (AGAIN.includes(status)) {
        console.error(`the sidecar answers ${status}, trying again`);
        await sleep(1000, undefined, { signal: stop });
      } else if (status !== 409) {
        // 409: somebody else had it all the while
        throw new Error(`${BASE}/locks/${name}: ${status}`);
      }
    }
  }

  async function beat(lost, done) {
    let pause = TTL / 3;
    for (;;) {
      await sleep(1000 * pause, undefined, { signal: done });
      // Not cut short when the work is done: what arrives after the release would take the lock anew.
      const status = await ask("PUT", `?ttl=${TTL}`, TTL / 3);
      const left = deadline - now();
      if (status !== 200 && (!AGAIN.includes(status) || left <= 0)) return lost.abort(new Error(`lost ${name}`));
      pause = status === 200 ? TTL / 3 : Math.min(1, left);
    }
  }

  try {
    await acquire();
  } catch (error) {
    await ask("DELETE", "", TTL / 3); // it may have been granted in this very moment
    throw error;
  }
  const lost = new AbortController();
  const done = new AbortController();
  const beats = beat(lost, done.signal).catch((error) => done.signal.aborted || lost.abort(error));
  try {
    return await work(token, AbortSignal.any([lost.signal, stop]));
  } finally {
    done.abort();
    await beats;
    // Without an answer it ends by its ttl; 404 and 403 say that it has ended already.
    await ask("DELETE", "", TTL / 3);
  }
}

const [name, seconds = 1] = process.argv.slice(2);
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort(new Error("told to end"))); // released, it is the next one's at once
try {
  await withLock(name, async (token, signal) => {
    console.log(`${CLIENT} holds ${name}, fencing token ${token}`);
    // The work: it gives the token to whatever it writes to, and ends when the lock is lost.
    await sleep(1000 * seconds, undefined, { signal });
    console.log(`${CLIENT} is done`);
  }, stop.signal);
} catch (error) {
  console.error(`${CLIENT}: ${(error.cause ?? error).message}`);
  process.exitCode = 1;
}
