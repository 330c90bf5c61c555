import Foundation
import OnCallCore
import Security

/// Keeps bytes in the keychain: for this device only, readable after the first unlock, by app and extension.
struct Keychain: Storage {
    struct Failure: Error { let status: OSStatus }

    private static let service = "pushkit-bridge"

    /// "<team>.<bundle id>.shared", as the entitlements have it; nil: the app's own.
    private static let group = Bundle.main.object(forInfoDictionaryKey: "OnCallKeychainGroup") as? String

    private func query(_ name: String) -> [CFString: Any] {
        var query: [CFString: Any] = [
            kSecClass: kSecClassGenericPassword, kSecAttrService: Keychain.service, kSecAttrAccount: name,
        ]
        if let group = Keychain.group { query[kSecAttrAccessGroup] = group }
        return query
    }

    func load(_ name: String) throws -> Data? {
        var query = query(name)
        query[kSecReturnData] = true
        query[kSecMatchLimit] = kSecMatchLimitOne
        var found: CFTypeRef?
        let status = SecItemCopyMatching(query as CFDictionary, &found)
        // Before the first unlock after a restart that is errSecInteractionNotAllowed: what is there stays there.
        guard status == errSecSuccess || status == errSecItemNotFound else { throw Failure(status: status) }
        return found as? Data
    }

    func save(_ name: String, _ data: Data?) throws {
        guard let data else {
            SecItemDelete(query(name) as CFDictionary)
            return
        }
        let values: [CFString: Any] = [
            kSecValueData: data, kSecAttrAccessible: kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly,
        ]
        var status = SecItemUpdate(query(name) as CFDictionary, values as CFDictionary)
        if status == errSecItemNotFound {
            status = SecItemAdd(query(name).merging(values) { _, new in new } as CFDictionary, nil)
        }
        guard status == errSecSuccess else { throw Failure(status: status) }
    }
}

/// What the app and its extension keep of an enrolment.
struct Keeper {
    let storage: Storage

    /// nil: not enrolled. Throws before the first unlock after a restart, as `keys` does.
    func enrolment() throws -> Enrolment? { try read("enrolment") }
    func keys() throws -> KeyRing { try read("keys") ?? KeyRing() }
    var lastEventID: String { (try? read("last-event")) ?? "" }
    var lastDrillAt: Date? { try? read("last-drill") }

    func keep(_ enrolment: Enrolment?) throws { try write("enrolment", enrolment) }
    func keep(_ keys: KeyRing) throws { try write("keys", keys) }
    func keep(lastEventID: String) { try? write("last-event", lastEventID) }
    func keep(lastDrillAt: Date) { try? write("last-drill", lastDrillAt) }

    /// Read a push's payload, and open it where it is sealed and the keys can be read.
    func read(push payload: [AnyHashable: Any]) -> Reading {
        ((try? keys()) ?? KeyRing()).open(Push.read(JSON(dictionary: payload)), with: CryptoKitKeys())
    }

    private func read<Value: Decodable>(_ name: String) throws -> Value? {
        try storage.load(name).flatMap { try? JSONDecoder().decode(Value.self, from: $0) }
    }

    private func write<Value: Encodable>(_ name: String, _ value: Value?) throws {
        try storage.save(name, value.map { try JSONEncoder().encode($0) })
    }
}
