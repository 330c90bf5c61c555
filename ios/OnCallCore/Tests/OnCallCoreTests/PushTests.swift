import XCTest

@testable import OnCallCore

final class PushTests: XCTestCase {
    private func cases(_ pushType: String) throws -> [(name: String, payload: JSON, expect: JSON)] {
        let all = try vectors("payloads.json")
        XCTAssertEqual(all["now"]?.time, now)
        let found = all["cases"]!.array!.filter { $0["push_type"]?.string == pushType }
        XCTAssertGreaterThan(found.count, 3)
        return found.map { ($0["name"]!.string!, $0["payload"]!, $0["expect"]!) }
    }

    func testAPhoneMakesOfEachCallWhatTheVectorsSay() throws {
        for (name, payload, expect) in try cases("voip") {
            var book = CallBook()
            let reading = Push.read(payload)
            let commands = book.arrived(reading, now: now, spare: spare)
            let uuid = expect["uuid"]?.string.flatMap(UUID.init(uuidString:)) ?? spare
            XCTAssertEqual(commands, [.report(ticket: 1, uuid: uuid, name: expect["name"]!.string!)], name)
            let after = book.reported(ticket: 1, errorCode: nil, now: now)
            if expect["does"]?.string == "report and end" {
                let reason: EndReason = expect["why"]?.string == "stale" ? .unanswered : .failed
                XCTAssertEqual(after, [.end(uuid, reason)], name)
                XCTAssertFalse(book.listens, name)
            } else {
                try check(reading, expect, name)
                XCTAssertFalse(after.contains { if case .end = $0 { true } else { false } }, name)
            }
        }
    }

    private func check(_ reading: Reading, _ expect: JSON, _ name: String) throws {
        guard case .push(let push) = reading else { return XCTFail(name) }
        XCTAssertEqual(push.callID, expect["call_id"]?.string, name)
        XCTAssertEqual(push.isNewer, expect["newer"]?.bool, name)
        XCTAssertEqual(push.page.drill, expect["drill"]?.bool, name)
        XCTAssertEqual(push.page.incidents.map { JSON.string($0.id) }, expect["incidents"]?.array, name)
        try check(push.receipt, expect, name)
    }

    private func check(_ receipt: ReceiptTarget?, _ expect: JSON, _ name: String) throws {
        if case .pushed(let url, let token) = receipt {
            XCTAssertEqual(url, expect["receipt_url"]?.string, name)
            XCTAssertFalse(token.isEmpty, name)
        } else {
            XCTAssertEqual(expect["receipt_url"], .null, name)
        }
    }

    func testAPhoneReadsEachNotificationAsTheVectorsSay() throws {
        let kinds: [String: Push.Kind] = ["alert": .alert, "resolved": .resolved, "acknowledged": .acknowledged]
        for (name, payload, expect) in try cases("alert") {
            guard case .push(let push) = Push.read(payload) else { return XCTFail(name) }
            let kind = expect["kind"]!.string!
            XCTAssertEqual(push.kind, kinds[kind] ?? .other(kind), name)
            XCTAssertEqual([push.page.name, push.page.reason], [expect["title"]?.string, expect["body"]?.string], name)
            XCTAssertEqual(push.page.incidents.map { JSON.string($0.id) }, expect["incidents"]?.array, name)
            try check(push.receipt, expect, name)
        }
    }

    func testADictionaryOfPushKitIsReadLikeItsJSON() throws {
        for (name, payload, _) in try cases("voip") {
            let dictionary = try JSONSerialization.jsonObject(with: payload.data) as? [String: Any]
            XCTAssertEqual(JSON(dictionary: dictionary!), payload, name)
        }
    }

    func testWhatIsNoJSONIsMalformedAndNoCrash() {
        XCTAssertNil(JSON(dictionary: ["when": Date()]))
        for payload in [nil, JSON.null, .array([]), .string("x")] as [JSON?] {
            guard case .malformed = Push.read(payload) else { return XCTFail("\(String(describing: payload))") }
        }
    }

    func testAnAnsweredPageSaysWhatIsOnFireAndHowMuchMore() throws {
        let spoken = try cases("voip").prefix(3).map { one -> String in
            guard case .push(let push) = Push.read(one.payload) else { return "" }
            return Speech.of(push)
        }
        XCTAssertEqual(spoken[0], "CRITICAL DiskFull. platform: Disk full on i1.")
        XCTAssertTrue(spoken[1].contains("And 39 more."), spoken[1])
        XCTAssertTrue(spoken[1].contains("3 alerts were left out."), spoken[1])
        XCTAssertTrue(spoken[2].hasPrefix("DRILL"), spoken[2])
    }

    func testANewerBridgeIsSaidToBeNewer() throws {
        let newer = try cases("voip").first { $0.expect["newer"]?.bool == true }!
        guard case .push(let push) = Push.read(newer.payload) else { return XCTFail() }
        XCTAssertTrue(Speech.of(push).hasSuffix("Please update the app."))
    }
}
