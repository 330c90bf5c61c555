import CryptoKit
import Foundation
import OnCallCore

/// The core's cryptography by CryptoKit: HPKE with X25519, HKDF-SHA256 and ChaCha20-Poly1305, since iOS 17.
struct CryptoKitKeys: PageKeys {
    func newPrivateKey() -> Data { Curve25519.KeyAgreement.PrivateKey().rawRepresentation }

    func publicKey(of privateKey: Data) throws -> Data {
        try Curve25519.KeyAgreement.PrivateKey(rawRepresentation: privateKey).publicKey.rawRepresentation
    }

    func sha256(_ data: Data) -> Data { Data(SHA256.hash(data: data)) }

    func open(ciphertext: Data, encapsulated: Data, privateKey: Data, info: Data, aad: Data) throws -> Data {
        let key = try Curve25519.KeyAgreement.PrivateKey(rawRepresentation: privateKey)
        var recipient = try HPKE.Recipient(
            privateKey: key, ciphersuite: .Curve25519_SHA256_ChachaPoly, info: info, encapsulatedKey: encapsulated
        )
        return try recipient.open(ciphertext, authenticating: aad)
    }
}
