// Opens an encrypted private-key file of ours as Handle.Net software does, and writes the same key
// encrypted its own way. Arguments: FILE PASSPHRASE OUT. Prints algorithm and size.

import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.PrivateKey;
import java.security.interfaces.RSAPrivateKey;
import net.handle.hdllib.Common;
import net.handle.hdllib.Util;

public class Keys {
    public static void main(String[] args) throws Exception {
        byte[] passphrase = Util.encodeString(args[1]);
        byte[] plain = Util.decrypt(Files.readAllBytes(Paths.get(args[0])), passphrase);
        PrivateKey key = Util.getPrivateKeyFromBytes(plain, 0);
        System.out.println(key.getAlgorithm() + " " + ((RSAPrivateKey) key).getModulus().bitLength());
        byte[] again = Util.encrypt(
            Util.getBytesFromPrivateKey(key), passphrase, Common.ENCRYPT_PBKDF2_AES_CBC_PKCS5);
        Files.write(Paths.get(args[2]), again);
    }
}
