import java.io.IOException;
import java.net.InetAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Works under a cluster-wide lock, by the msync sidecar of this pod: java Lock.java NAME [SECONDS]
 *
 * <p>Needs Java 17 or newer, and no library. {@code try (var lock = Lock.acquire("invoices")) { ... }} waits and holds; the
 * thread that acquired it is interrupted when the lock is lost.
 */
public final class Lock implements AutoCloseable {
    private static final Map<String, String> ENV = System.getenv();
    private static final String BASE = ENV.getOrDefault("MSYNC_URL", "http://localhost:8080");
    private static final String CLIENT = ENV.getOrDefault("MSYNC_CLIENT_ID", hostAndPid());
    /** So long after the last beat the lock goes to others. */
    private static final int TTL = Integer.parseInt(ENV.getOrDefault("MSYNC_TTL", "30"));
    /** Of one request in the queue; then it is repeated. */
    private static final int WAIT = Integer.parseInt(ENV.getOrDefault("MSYNC_WAIT", "60"));
    private static final Duration BEAT = Duration.ofSeconds(TTL).dividedBy(3);
    /** No answer, heard too late, or no locks to be had just now. */
    private static final Set<Integer> AGAIN = Set.of(0, 408, 503);

    private static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    private final String url;
    private final Thread worker = Thread.currentThread();
    private final CountDownLatch done = new CountDownLatch(1);
    private final Thread beater = new Thread(this::beat, "beats");
    private volatile boolean lost;
    private volatile String token;
    /** Until when it is safely ours, by {@link System#nanoTime}. */
    private volatile long deadline;

    private Lock(String name) {
        url = BASE + "/locks/" + name;
        beater.setDaemon(true);
    }

    public static Lock acquire(String name) throws InterruptedException {
        var lock = new Lock(name);
        try {
            lock.await();
        } catch (InterruptedException end) {
            lock.ask("DELETE", "", BEAT); // it may have been granted in this very moment
            throw end;
        }
        lock.beater.start();
        return lock;
    }

    private void await() throws InterruptedException {
        for (;;) {
            int status = ask("PUT", "?wait=" + WAIT + "&ttl=" + TTL, Duration.ofSeconds(WAIT + 10));
            if (status == 200) {
                return;
            } else if (AGAIN.contains(status)) {
                System.err.println("the sidecar answers " + status + ", trying again");
                Thread.sleep(1000);
            } else if (status != 409) { // 409: somebody else had it all the while
                throw new IllegalStateException(url + ": " + status);
            }
        }
    }

    /** The fencing token: a decimal number below 2^64. */
    public String token() {
        return token;
    }

    public boolean isLost() {
        return lost;
    }

    /** Releases it. Without an answer it ends by its ttl; 404 and 403 say that it has ended already. */
    @Override
    public void close() {
        done.countDown();
        boolean interrupted = Thread.interrupted(); // the release goes out all the same
        try {
            // A beat is not cut short: one that arrives after the release would take the lock anew.
            beater.join();
            ask("DELETE", "", BEAT);
        } catch (InterruptedException again) {
            interrupted = true;
        }
        if (interrupted) {
            worker.interrupt();
        }
    }

    private void beat() {
        var pause = BEAT;
        try {
            while (!done.await(pause.toMillis(), TimeUnit.MILLISECONDS)) {
                int status = ask("PUT", "?ttl=" + TTL, BEAT);
                if (status == 200) {
                    pause = BEAT;
                } else if (AGAIN.contains(status) && !left().isNegative()) {
                    pause = shorter(Duration.ofSeconds(1), left());
                } else {
                    break;
                }
            }
        } catch (InterruptedException | RuntimeException error) {
            error.printStackTrace();
        }
        if (done.getCount() > 0) {
            lost = true;
            worker.interrupt();
        }
    }

    private Duration left() {
        return Duration.ofNanos(deadline - System.nanoTime());
    }

    private static Duration shorter(Duration one, Duration other) {
        return one.compareTo(other) < 0 ? one : other;
    }

    /** The status of one request, 0 if there is no answer. */
    private int ask(String method, String query, Duration patience) throws InterruptedException {
        long sent = System.nanoTime();
        var limit = token == null ? patience : shorter(patience, left());
        if (limit.isNegative() || limit.isZero()) {
            return 0;
        }
        var request = HttpRequest.newBuilder(URI.create(url + query))
                .method(method, HttpRequest.BodyPublishers.noBody())
                .header("Msync-Client-Id", CLIENT)
                .timeout(limit)
                .build();
        try {
            var answer = HTTP.send(request, HttpResponse.BodyHandlers.discarding());
            if (method.equals("PUT") && answer.statusCode() == 200) {
                var remaining = answer.headers().firstValue("Msync-Remaining-Seconds").orElseThrow();
                deadline = sent + (long) (1e9 * Double.parseDouble(remaining));
                token = answer.headers().firstValue("Msync-Fencing-Token").orElseThrow();
            }
            return answer.statusCode();
        } catch (IOException none) { // refused, broken off, timed out
            return 0;
        }
    }

    private static String hostAndPid() {
        try {
            return InetAddress.getLocalHost().getHostName() + "-" + ProcessHandle.current().pid();
        } catch (IOException unknown) {
            return "java-" + ProcessHandle.current().pid();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var name = arguments[0];
        var seconds = arguments.length > 1 ? Double.parseDouble(arguments[1]) : 1;
        var main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { // SIGTERM: released, it is the next one's at once
            main.interrupt();
            try {
                main.join(5000);
            } catch (InterruptedException ended) {
                // The machine does not wait for hooks any more.
            }
        }));
        try (var lock = Lock.acquire(name)) {
            System.out.println(CLIENT + " holds " + name + ", fencing token " + lock.token());
            // The work: it gives the token to whatever it writes to, and ends when the lock is lost.
            try {
                Thread.sleep((long) (1000 * seconds));
            } catch (InterruptedException end) {
                throw new IllegalStateException(CLIENT + (lock.isLost() ? " lost " + name : " was told to end"));
            }
            System.out.println(CLIENT + " is done");
        }
    }
}
