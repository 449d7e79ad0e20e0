// Drives a server through the Handle.Net client library: every administrative operation, by one
// transport, one kind of identity, with or without a session. One line a check: "ok NAME" or
// "BAD NAME: what came". Compiled against the distribution in HSJ when the tests run.
//
// Arguments: tcp|udp|http secret|key plain|session|encrypted PREFIX KEYFILE SECRET SALT

import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import net.handle.hdllib.*;

public class Drive {
    static HandleResolver resolver = new HandleResolver();
    static AuthenticationInfo who;
    static boolean session;
    static boolean encrypted;
    static int bad = 0;

    static byte[] octets(String text) {
        return Util.encodeString(text);
    }

    static HandleValue value(int index, String type, String data) {
        return new HandleValue(index, octets(type), octets(data));
    }

    static HandleValue admin(String prefix) {
        AdminRecord all = new AdminRecord(octets("0.NA/" + prefix), 200,
            true, true, true, true, true, true, true, true, true, true, true, true);
        return new HandleValue(100, octets("HS_ADMIN"), Encoder.encodeAdminRecord(all));
    }

    static HandleValue[] list(HandleValue... values) {
        return values;
    }

    static AbstractResponse send(AbstractRequest request) throws Exception {
        if (session && request.authInfo != null) request.sessionTracker = resolver.getSessionTracker();
        if (encrypted && request.authInfo != null) request.encrypt = request.certify = true;
        return resolver.processRequest(request);
    }

    static AbstractResponse expect(String name, int code, AbstractRequest request) {
        try {
            AbstractResponse reply = send(request);
            note(name, reply.responseCode == code, reply);
            return reply;
        } catch (HandleException problem) {
            note(name, false, "HandleException " + problem.getCode() + " " + problem.getMessage());
        } catch (Exception problem) {
            note(name, false, problem);
        }
        return null;
    }

    static void note(String name, boolean good, Object got) {
        if (!good) bad++;
        System.out.println(good ? "ok " + name : "BAD " + name + ": " + got);
    }

    static HandleValue[] values(AbstractResponse reply) throws Exception {
        return reply instanceof ResolutionResponse
            ? ((ResolutionResponse) reply).getHandleValues() : new HandleValue[0];
    }

    public static void main(String[] args) throws Exception {
        int[] transport = { args[0].equals("tcp") ? Interface.SP_HDL_TCP
            : args[0].equals("udp") ? Interface.SP_HDL_UDP : Interface.SP_HDL_HTTP };
        String prefix = args[3];
        byte[] record = octets("0.NA/" + prefix);
        byte[] key = Util.decrypt(Files.readAllBytes(Paths.get(args[4])), null);
        who = args[1].equals("key")
            ? new PublicKeyAuthenticationInfo(record, 300, Util.getPrivateKeyFromBytes(key, 0))
            : new SecretKeyAuthenticationInfo(record, 301, octets(args[5]));
        encrypted = args[2].equals("encrypted");
        session = encrypted || args[2].equals("session");
        resolver.setPreferredProtocols(transport);
        resolver.setTcpTimeout(15000);
        if (session) resolver.setSessionTracker(new ClientSessionTracker());
        if (encrypted) {
            SessionSetupInfo setup = new SessionSetupInfo(who);
            setup.encrypted = setup.authenticated = true;
            resolver.getSessionTracker().setSessionSetupInfo(setup);
        }
        run(prefix, octets(prefix + "/java-" + args[6]), args[0]);
        System.out.println(bad == 0 ? "ALL GOOD" : bad + " BAD");
        System.exit(bad == 0 ? 0 : 1);
    }

    static void run(String prefix, byte[] name, String transport) throws Exception {
        HandleValue[] first = list(value(1, "URL", "https://example.org/"), admin(prefix));
        expect("create", 1, new CreateHandleRequest(name, first, who));
        expect("create again", 101, new CreateHandleRequest(name, first, who));
        expect("add", 1, new AddValueRequest(name, list(value(2, "DESC", "two"), value(3, "EMAIL", "e")), who));
        expect("add taken", 201, new AddValueRequest(name, list(value(2, "DESC", "x")), who));
        HandleValue hidden = value(5, "SECRET", "hidden");
        hidden.setAnyoneCanRead(false);
        expect("add hidden", 1, new AddValueRequest(name, list(hidden), who));
        expect("modify", 1, new ModifyValueRequest(name, list(value(2, "DESC", "zwei")), who));
        expect("modify missing", 200, new ModifyValueRequest(name, list(value(9, "DESC", "x")), who));
        expect("remove", 1, new RemoveValueRequest(name, new int[] { 3 }, who));
        expect("remove missing", 200, new RemoveValueRequest(name, new int[] { 3 }, who));
        read(name);
        longReply(prefix, name);
        if (!transport.equals("udp")) lists(prefix); // the library asks for lists over connections alone
        expect("not here", 301, new CreateHandleRequest(octets("99.1234/x"), first, who));
        byte[] derived = octets("0.NA/" + prefix + ".7777");
        expect("home", 1, new GenericRequest(derived, AbstractMessage.OC_HOME_NA, who));
        expect("unhome", 1, new GenericRequest(derived, AbstractMessage.OC_UNHOME_NA, who));
        expect("delete", 1, new DeleteHandleRequest(name, who));
        expect("delete again", 100, new DeleteHandleRequest(name, who));
        expect("gone", 100, new ResolutionRequest(name, null, null, null));
    }

    static void read(byte[] name) throws Exception {
        ResolutionRequest all = new ResolutionRequest(name, null, null, who);
        all.ignoreRestrictedValues = false;
        note("read all", values(expect("resolve as administrator", 1, all)).length == 4, all);
        ResolutionRequest certified = new ResolutionRequest(name, null, null, null);
        certified.certify = true;
        note("read public", values(expect("certified", 1, certified)).length == 3, certified);
        ResolutionRequest byType = new ResolutionRequest(name, new byte[][] { octets("URL") }, null, null);
        note("by type", values(expect("of a type", 1, byType)).length == 1, byType);
        expect("withheld", 200, new ResolutionRequest(name, null, new int[] { 5 }, null));
        expect("absent value", 200, new ResolutionRequest(name, null, new int[] { 99 }, null));
    }

    static void longReply(String prefix, byte[] name) throws Exception {
        StringBuilder text = new StringBuilder();
        while (text.length() < 5000) text.append("long ");
        expect("add long", 1, new AddValueRequest(name, list(value(20, "LONG", text.toString())), who));
        AbstractResponse reply = expect("resolve long", 1, new ResolutionRequest(name, null, new int[] { 20 }, null));
        note("long whole", values(reply).length == 1 && values(reply)[0].getData().length == text.length(), reply);
    }

    static void lists(String prefix) throws Exception {
        List<String> seen = new ArrayList<>();
        ListHandlesRequest request = new ListHandlesRequest(octets("0.NA/" + prefix), who);
        if (session) request.sessionTracker = resolver.getSessionTracker();
        AbstractResponse last = resolver.processRequest(request, part -> {
            if (part instanceof ListHandlesResponse)
                for (byte[] handle : ((ListHandlesResponse) part).handles) seen.add(Util.decodeString(handle));
        });
        note("list", last.responseCode == 1, last);
        expect("list homed", 1, new ListNAsRequest(octets("/"), who));
        note("list holds it", seen.stream().anyMatch(each -> each.toLowerCase().contains("java-")), seen);
    }
}
