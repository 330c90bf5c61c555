// The part of Apple's CryptoKit that the app uses, as its documentation declares it; nothing works.
import Foundation

public enum Curve25519 {
    public enum KeyAgreement {
        public struct PublicKey: Sendable {
            public var rawRepresentation: Data { Data() }
        }
        public struct PrivateKey: Sendable {
            public init() {}
            public init<D: ContiguousBytes>(rawRepresentation: D) throws {}
            public var rawRepresentation: Data { Data() }
            public var publicKey: PublicKey { PublicKey() }
        }
    }
}

public struct SHA256Digest: Sequence {
    public func makeIterator() -> IndexingIterator<[UInt8]> { [].makeIterator() }
}

public struct SHA256 {
    public static func hash<D: DataProtocol>(data: D) -> SHA256Digest { SHA256Digest() }
}

public enum HPKE {
    public struct Ciphersuite: Sendable {
        public static let Curve25519_SHA256_ChachaPoly = Ciphersuite()
    }
    public struct Recipient {
        public init(
            privateKey: Curve25519.KeyAgreement.PrivateKey, ciphersuite: Ciphersuite, info: Data, encapsulatedKey: Data
        ) throws {}
        public mutating func open<C: DataProtocol, AAD: DataProtocol>(
            _ ciphertext: C, authenticating authenticatedData: AAD
        ) throws -> Data { Data() }
    }
}
