import XCTest

@testable import OnCallCore

final class SealingTests: XCTestCase {
    /// Its "ciphertext" is what it was sealed with, then the text: enough to see what the core hands over.
    private struct Stub: PageKeys {
        func newPrivateKey() -> Data { Data(UUID().uuidString.utf8) }
        func publicKey(of privateKey: Data) throws -> Data { Data("public ".utf8) + privateKey }
        func sha256(_ data: Data) -> Data { Data(data.suffix(16)) }
        func open(ciphertext: Data, encapsulated: Data, privateKey: Data, info: Data, aad: Data) throws -> Data {
            let seal = encapsulated + privateKey + info + aad
            guard ciphertext.starts(with: seal) else { throw BridgeError.unreadable }
            return ciphertext.dropFirst(seal.count)
        }
    }

    private let crypto = Stub()
    private let content = #"{"caller_name": "CRITICAL DiskFull", "reason": "r", "call": {"receipt_url": "https://b/r", "receipt_token": "t"}, "incidents": [{"id": "i"}]}   "#

    private func sealed(_ key: KeyRing.Key, kid: String? = nil, call: String = callID) -> Reading {
        let kid = kid ?? key.keyID
        let enc = Data([1, 2, 3])
        let ct = enc + key.privateKey + Data("pushkit-bridge page 1".utf8) + Data("\(call) \(kid)".utf8) + Data(content.utf8)
        return Push.read(json("""
            {"aps": {}, "v": 1, "call": {"id": "\(callID)", "uuid": "\(callUUID)", "expires_at": "2026-11-25T12:00:30.000Z"},
             "caller_name": "On call", "sealed": {"kid": "\(kid)", "enc": "\(enc.base64url)", "ct": "\(ct.base64url)"}}
            """))
    }

    func testASealedPageIsOpenedWithInfoAndTheCallsIdAndKey() throws {
        var ring = KeyRing()
        let key = try ring.rotate(with: crypto, now: now)
        guard case .push(let push) = ring.open(sealed(key), with: crypto) else { return XCTFail() }
        XCTAssertEqual(push.page.name, "CRITICAL DiskFull")
        XCTAssertEqual(push.receipt, .pushed(url: "https://b/r", token: "t"))
        XCTAssertEqual([push.callID, push.uuid.uuidString], [callID, callUUID.uuidString])
        XCTAssertNil(push.sealed)
    }

    func testAPageThatCannotBeOpenedRingsWithItsNameAndAsksTheBridge() throws {
        var ring = KeyRing()
        let key = try ring.rotate(with: crypto, now: now)
        for reading in [sealed(key, kid: "0000"), sealed(key, call: "of another call")] {
            let shut = ring.open(reading, with: crypto)
            var book = CallBook()
            XCTAssertEqual(book.arrived(shut, now: now, spare: spare), [.report(ticket: 1, uuid: callUUID, name: "On call")])
            let record = CallBook.Record(callID: callID, target: .credential(callID: callID), expiresAt: now.addingTimeInterval(30))
            XCTAssertEqual(book.reported(ticket: 1, errorCode: nil, now: now), [
                .post(record, .received, errorCode: nil), .ask(callID: callID),
            ])
            _ = book.answer(callUUID)
            book.learned(callID: callID, "DiskFull.")
            XCTAssertEqual(book.audioActivated(), [.speak(callUUID, "DiskFull.")])
        }
    }

    func testTheSealedVectorsOpenWithTheirKeyAndNoOthersDo() throws {
        let all = try vectors("sealed.json")
        let (crypto, secret) = (PlainHPKE(), Data(base64url: all["private_key"]!.string!)!)
        let shown = try crypto.publicKey(of: secret)
        XCTAssertEqual([shown.base64url, crypto.keyID(of: shown)], [all["public_key"]?.string, all["kid"]?.string])
        let key = JSON.object(["keyID": all["kid"]!, "privateKey": .string(secret.base64EncodedString()), "publicKey": .string("")])
        let ring = try JSONDecoder().decode(KeyRing.self, from: JSON.object(["keys": .array([key])]).data)
        for one in all["cases"]!.array! {
            let name = one["name"]!.string!
            guard case .push(let push) = ring.open(Push.read(one["payload"]), with: crypto) else { return XCTFail(name) }
            if let content = one["content"], content != .null {
                XCTAssertNil(push.sealed, name)
                XCTAssertEqual(push.page, Page(content), name)
                XCTAssertEqual(push.receipt, content["call"].flatMap(ReceiptTarget.init), name)
            } else {
                XCTAssertNotNil(push.sealed, name)
                XCTAssertEqual(push.page.name, "On call", name)
                let own = one["payload"]?["call"].flatMap(ReceiptTarget.init)
                XCTAssertEqual(push.receipt, own ?? .credential(callID: push.callID), name)
            }
        }
    }

    func testAKeyIsPutAgainWhereTheBridgeSealsForAnotherOrForNone() throws {
        var ring = KeyRing()
        XCTAssertNil(ring.keyToPut(for: Device(json(#"{"kid": null}"#))))
        let key = try ring.rotate(with: crypto, now: now)
        XCTAssertEqual(ring.keyToPut(for: Device(json(#"{"kid": null}"#))), key)
        XCTAssertEqual(ring.keyToPut(for: Device(json(#"{"kid": "0123456789abcdef"}"#))), key)
        XCTAssertNil(ring.keyToPut(for: Device(json(#"{"kid": "\#(key.keyID)"}"#))))
        XCTAssertNil(ring.keyToPut(for: Device(json("{}"))), "an older bridge")
    }

    func testASealThatCannotBeReadIsNotTakenForAClearPush() {
        for value in ["{}", #"{"kid": 5, "enc": "=", "ct": null}"#] {
            let reading = Push.read(json(#"{"call": {"id": "c", "uuid": "\#(callUUID)", "expires_at": "2026-11-25T12:00:30.000Z", "receipt_url": "u"}, "sealed": \#(value)}"#))
            guard case .push(let push) = KeyRing().open(reading, with: crypto) else { return XCTFail(value) }
            XCTAssertNotNil(push.sealed, value)
            XCTAssertEqual(push.receipt, .pushed(url: "u", token: ""), "its own bridge, not the enrolled one")
            XCTAssertTrue(Speech.of(push).contains("could not be opened"), value)
        }
    }

    func testForAQuietPushThatCannotBeOpenedNobodyIsToldAnything() throws {
        for (kind, target) in [("resolved", nil), ("acknowledged", nil), ("alert", ReceiptTarget.credential(callID: "c"))] {
            let reading = Push.read(json(#"{"kind": "\#(kind)", "call": {"id": "c", "uuid": "\#(callUUID)", "expires_at": "2026-11-25T12:00:30.000Z"}, "sealed": {"kid": "no"}}"#))
            guard case .push(let push) = KeyRing().open(reading, with: crypto) else { return XCTFail(kind) }
            XCTAssertEqual(push.receipt, target, kind)
        }
    }

    func testKeysOfBeforeOpenForADayThenAreForgotten() throws {
        var ring = KeyRing()
        let old = try ring.rotate(with: crypto, now: now)
        let new = try ring.rotate(with: crypto, now: now.addingTimeInterval(60))
        XCTAssertEqual(ring.current, new)
        guard case .push(let push) = ring.open(sealed(old), with: crypto) else { return XCTFail() }
        XCTAssertNil(push.sealed)
        ring.prune(now: now.addingTimeInterval(60 + KeyRing.keptFor))
        XCTAssertEqual(ring.keys.count, 2)
        ring.prune(now: now.addingTimeInterval(61 + KeyRing.keptFor))
        XCTAssertEqual(ring.keys, [new])
    }

    func testARotationThatTheBridgeDidNotHearOfIsTakenBack() throws {
        var ring = KeyRing()
        let old = try ring.rotate(with: crypto, now: now)
        _ = try ring.rotate(with: crypto, now: now)
        ring.revive(old.keyID, now: now)
        XCTAssertEqual(ring.current?.keyID, old.keyID)
        XCTAssertEqual(ring.keys.count, 2)
    }
}
