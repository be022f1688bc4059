// CometD's server in a Jetty, to be measured: at `/cometd`, at its defaults but for how long it holds a connect
// and for what would count all clients of one machine as one browser. What is posted to `/publish?channel=` is
// published to that channel. Its argument is for how many seconds it serves clients of its own before it says
// where it listens.

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.cometd.bayeux.Promise;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.bayeux.server.LocalSession;
import org.cometd.server.http.jakarta.CometDServlet;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.ajax.JSON;

public final class CometServer {
    private static final int HOLD_MS = 120_000;
    private static final int WARMING_CLIENTS = 50;

    public static void main(String[] arguments) throws Exception {
        var server = new Server();
        var connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setAcceptQueueSize(4096);
        connector.setIdleTimeout(2 * HOLD_MS);
        server.addConnector(connector);
        var context = new ServletContextHandler("/");
        var cometd = new ServletHolder(new CometDServlet());
        cometd.setInitOrder(1);
        cometd.setAsyncSupported(true);
        Map.of("timeout", HOLD_MS, "maxSessionsPerBrowser", -1, "trustClientSession", true)
                .forEach((name, value) -> cometd.setInitParameter(name, value.toString()));
        context.addServlet(cometd, "/cometd/*");
        context.addServlet(new ServletHolder(new Publish()), "/publish");
        server.setHandler(context);
        server.start();
        var address = "127.0.0.1:" + connector.getLocalPort();
        var version = BayeuxServer.class.getPackage().getImplementationVersion();
        System.out.println("version " + (version == null ? "8" : version) + " (Jetty " + Server.getVersion()
                + ", Java " + Runtime.version().feature() + ")");
        warmUp("http://" + address, Long.parseLong(arguments[0]));
        System.out.println("listening on " + address);
        server.join();
    }

    /** Publishes what is posted. */
    private static final class Publish extends HttpServlet {
        private LocalSession session;

        @Override
        protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
            var name = request.getParameter("channel");
            var data = new JSON().fromJSON(request.getReader());
            var bayeux = (BayeuxServer) getServletContext().getAttribute(BayeuxServer.ATTRIBUTE);
            bayeux.createChannelIfAbsent(name).getReference().publish(session(bayeux), data, Promise.noop());
            response.setContentLength(0);
        }

        private synchronized LocalSession session(BayeuxServer bayeux) {
            if (session == null) {
                session = bayeux.newLocalSession("publisher");
                session.handshake();
            }
            return session;
        }
    }

    /** Clients of its own wait and are served. */
    private static void warmUp(String url, long seconds) throws Exception {
        var http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        var ends = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        var clients = new Thread[WARMING_CLIENTS];
        for (int at = 0; at < clients.length; at++) {
            clients[at] = new Thread(() -> wait(http, url, ends));
            clients[at].start();
        }
        for (long number = 0; System.nanoTime() < ends; number++) {
            post(http, url + "/publish?channel=/warm", "\"" + number + "\"");
            Thread.sleep(5);
        }
        for (var client : clients) {
            while (client.isAlive()) {
                post(http, url + "/publish?channel=/warm", "\"the last\"");
                client.join(100);
            }
        }
    }

    private static void wait(HttpClient http, String url, long ends) {
        try {
            var shaken = post(http, url + "/cometd", "[{\"channel\":\"/meta/handshake\",\"version\":\"1.0\","
                    + "\"supportedConnectionTypes\":[\"long-polling\"]}]");
            var reply = (Map<?, ?>) ((Object[]) new JSON().fromJSON(shaken))[0];
            var client = "\"clientId\":\"" + reply.get("clientId") + "\"";
            post(http, url + "/cometd",
                    "[{\"channel\":\"/meta/subscribe\",\"subscription\":\"/warm\"," + client + "}]");
            var connect = "[{\"channel\":\"/meta/connect\",\"connectionType\":\"long-polling\"," + client + "}]";
            while (System.nanoTime() < ends) post(http, url + "/cometd", connect);
            post(http, url + "/cometd", "[{\"channel\":\"/meta/disconnect\"," + client + "}]");
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static String post(HttpClient http, String url, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
        return http.send(request, BodyHandlers.ofString()).body();
    }
}
