// Puts the first records into the empty store of a Handle.Net server: the record of its prefix with
// its administrators, whose keys lie in it. Without it nobody could prove to be one.
//
// Arguments: SERVER-FOLDER PREFIX SECRET. The folder holds config.dct, siteinfo.bin and admpub.bin.

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import net.cnri.util.StreamTable;
import net.handle.hdllib.*;
import net.handle.server.HandleStorageFactory;

public class Boot {
    static HandleValue value(int index, String type, byte[] data) {
        return new HandleValue(index, Util.encodeString(type), data);
    }

    static byte[] everything(byte[] record, int index) {
        return Encoder.encodeAdminRecord(new AdminRecord(record, index,
            true, true, true, true, true, true, true, true, true, true, true, true));
    }

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        StreamTable config = new StreamTable();
        config.readFromFile(new File(folder.toFile(), "config.dct"));
        byte[] record = Util.encodeString("0.NA/" + args[1]);
        HandleValue secret = value(301, "HS_SECKEY", Util.encodeString(args[2]));
        secret.setAnyoneCanRead(false);
        HandleStorage store = HandleStorageFactory.getStorage(
            folder.toFile(), (StreamTable) config.get("server_config"), true);
        store.createHandle(record, new HandleValue[] {
            value(1, "HS_SITE", Files.readAllBytes(folder.resolve("siteinfo.bin"))),
            value(100, "HS_ADMIN", everything(record, 200)),
            value(200, "HS_VLIST", Encoder.encodeValueReferenceList(new ValueReference[] {
                new ValueReference(record, 300), new ValueReference(record, 301) })),
            value(300, "HS_PUBKEY", Files.readAllBytes(folder.resolve("admpub.bin"))),
            secret,
        });
        store.shutdown();
    }
}
