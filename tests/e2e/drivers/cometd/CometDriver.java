// CometD's own client for Java, driven by lines of JSON; `support/driver.js` has the other side and says what
// the lines are. It only calls the client, and knows nothing of what a test expects.

import jakarta.websocket.ContainerProvider;
import jakarta.websocket.WebSocketContainer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.Message;
import org.cometd.bayeux.client.ClientSession;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.client.BayeuxClient;
import org.cometd.client.ext.AckExtension;
import org.cometd.client.ext.TimesyncClientExtension;
import org.cometd.client.http.jetty.JettyHttpClientTransport;
import org.cometd.client.transport.ClientTransport;
import org.cometd.client.websocket.jakarta.WebSocketTransport;
import org.eclipse.jetty.client.HttpClient;
import org.eclipse.jetty.util.ajax.JSON;

public final class CometDriver {
    private static final long BACKOFF_MS = 100;
    private static final JSON FORMAT = new JSON();
    private static final Map<Object, BayeuxClient> CLIENTS = new ConcurrentHashMap<>();
    private static HttpClient http;
    private static WebSocketContainer sockets;

    public static void main(String[] arguments) throws Exception {
        http = new HttpClient();
        http.start();
        sockets = ContainerProvider.getWebSocketContainer();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            var asked = object(FORMAT.fromJSON(line));
            try {
                carryOut(asked);
            } catch (RuntimeException error) {
                say(Map.of("id", asked.get("id"), "failed", String.valueOf(error)));
            }
        }
        // The input is over with the test. Threads of clients that it left open do not end by themselves.
        Runtime.getRuntime().halt(0);
    }

    private static void carryOut(Map<String, Object> asked) {
        var name = asked.get("client");
        var client = "open".equals(asked.get("do")) ? create(name, asked) : CLIENTS.get(name);
        var channel = asked.containsKey("channel") ? client.getChannel((String) asked.get("channel")) : null;
        ClientSession.MessageListener answer = reply -> answer(asked.get("id"), client, reply);
        switch ((String) asked.get("do")) {
            case "open" -> open(client, asked, answer);
            case "subscribe" -> channel.subscribe((ClientSessionChannel.MessageListener) (at, message) ->
                    say(event(name, "channel", message.getChannel(), "data", message.getData())), answer);
            case "unsubscribe" -> client.batch(() -> {
                // The client answers for each listener, and asks the server with the last.
                for (var listener : channel.getSubscribers()) channel.unsubscribe(listener, answer);
            });
            case "publish" -> channel.publish(asked.get("data"), answer);
            case "close" -> client.disconnect(answer);
            default -> throw new IllegalArgumentException(String.valueOf(asked.get("do")));
        }
    }

    private static BayeuxClient create(Object name, Map<String, Object> asked) {
        var options = new HashMap<String, Object>();
        ClientTransport transport = "websocket".equals(asked.get("transport"))
                ? new WebSocketTransport(options, null, sockets)
                : new JettyHttpClientTransport(options, http);
        var client = new BayeuxClient(asked.get("url") + "/cometd", transport);
        client.setBackOffStrategy(new BayeuxClient.BackOffStrategy.Constant(BACKOFF_MS));
        client.addExtension(new AckExtension());
        client.addExtension(new TimesyncClientExtension());
        client.getChannel(Channel.META_HANDSHAKE).addListener(
                (ClientSessionChannel.MessageListener) (channel, reply) -> {
                    if (reply.isSuccessful()) say(event(name, "handshake", reply.getClientId()));
                });
        CLIENTS.put(name, client);
        return client;
    }

    /** Opened is what is connected, as an application sees it. */
    private static void open(
            BayeuxClient client, Map<String, Object> asked, ClientSession.MessageListener answer) {
        client.getChannel(Channel.META_CONNECT).addListener(new ClientSessionChannel.MessageListener() {
            @Override
            public void onMessage(ClientSessionChannel channel, Message reply) {
                if (!reply.isSuccessful()) return;
                channel.removeListener(this);
                answer.onMessage(reply);
            }
        });
        client.handshake(Map.of("ext", Map.of("token", asked.get("token"))), reply -> {
            if (!reply.isSuccessful()) answer.onMessage(reply);
        });
    }

    private static void answer(Object id, BayeuxClient client, Message reply) {
        if (!reply.isSuccessful()) {
            say(Map.of("id", id, "failed", FORMAT.toJSON(reply)));
            return;
        }
        var transport = client.getTransport();
        say(Map.of("id", id, "transport", transport == null ? "" : transport.getName()));
    }

    private static Map<String, Object> event(Object client, Object... pairs) {
        var event = new HashMap<String, Object>();
        event.put("client", client);
        for (int at = 0; at < pairs.length; at += 2) event.put((String) pairs[at], pairs[at + 1]);
        return event;
    }

    private static synchronized void say(Map<String, Object> line) {
        System.out.println(FORMAT.toJSON(line));
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> object(Object json) {
        return (Map<String, Object>) json;
    }
}
