import XCTest

@testable import OnCallCore

final class OutboxTests: XCTestCase {
    private func receipt(_ kind: ReceiptKind, _ record: CallBook.Record = makeRecord()) -> Receipt {
        Receipt(record, kind, at: now, eventID: UUID())
    }

    func testAReceiptIsPostedAsTheProtocolWritesIt() throws {
        let event = UUID(uuidString: "9F1C2D3E-4B5A-4678-9ABC-DEF012345678")!
        let failed = Receipt(makeRecord(), .failed, errorCode: 3, at: now.addingTimeInterval(2.115), eventID: event)
        XCTAssertEqual(failed.body, json("""
            {"event_id": "9f1c2d3e-4b5a-4678-9abc-def012345678", "receipt": "failed",
             "at": "2026-11-25T12:00:02.115Z", "error_code": 3}
            """))
        XCTAssertNil(receipt(.received).body["error_code"])
    }

    func testTheReceiptsOfOneCallGoInOrderAndABridgeThatIsDownHoldsUpNoOther() {
        var outbox = Outbox()
        let (first, second, other) = (receipt(.received), receipt(.answered), receipt(.received, makeRecord("other")))
        for one in [first, second, other] { outbox.add(one) }
        XCTAssertEqual(outbox.due(now).map(\.eventID), [first.eventID, other.eventID])
        outbox.settle(first.eventID, .lost, now: now)
        XCTAssertEqual(outbox.due(now).map(\.eventID), [other.eventID])
        XCTAssertEqual(outbox.due(now.addingTimeInterval(0.5)).map(\.eventID), [first.eventID, other.eventID])
        outbox.settle(first.eventID, .answered(status: 200, retryAfter: nil), now: now)
        XCTAssertEqual(outbox.due(now).map(\.eventID), [second.eventID, other.eventID])
    }

    func testEveryRefusalButPatienceStands() {
        for status in [200, 201, 400, 401, 404, 413] {
            var outbox = Outbox()
            outbox.add(receipt(.received))
            outbox.settle(outbox.waiting[0].eventID, .answered(status: status, retryAfter: nil), now: now)
            XCTAssertTrue(outbox.isEmpty, "\(status)")
        }
        for status in [429, 500, 502, 503] {
            var outbox = Outbox()
            outbox.add(receipt(.received))
            outbox.settle(outbox.waiting[0].eventID, .answered(status: status, retryAfter: nil), now: now)
            XCTAssertFalse(outbox.isEmpty, "\(status)")
        }
    }

    func testThePausesGrowAndRetryAfterIsHeeded() {
        var outbox = Outbox()
        outbox.add(receipt(.answered))
        let event = outbox.waiting[0].eventID
        var pauses: [TimeInterval] = []
        for _ in 0..<8 {
            outbox.settle(event, .lost, now: now)
            pauses.append(outbox.nextAttempt!.timeIntervalSince(now))
        }
        XCTAssertEqual(pauses, [0.5, 1, 2, 4, 8, 10, 10, 10])
        outbox.settle(event, .answered(status: 429, retryAfter: 60), now: now)
        XCTAssertEqual(outbox.nextAttempt?.timeIntervalSince(now), 60)
    }

    func testWhatThePersonDidIsToldForADayAndTheRestForFiveMinutes() {
        for (kind, patience) in [(ReceiptKind.received, 330.0), (.failed, 330), (.answered, 86430), (.declined, 86430)] {
            var outbox = Outbox()
            outbox.add(receipt(kind))
            outbox.settle(outbox.waiting[0].eventID, .lost, now: now.addingTimeInterval(patience - 1))
            XCTAssertFalse(outbox.isEmpty, "\(kind)")
            outbox.settle(outbox.waiting[0].eventID, .lost, now: now.addingTimeInterval(patience))
            XCTAssertTrue(outbox.isEmpty, "\(kind)")
        }
    }

    func testAnAnswerOutlivesTheAppAndKeepsItsEventId() async throws {
        let (shelf, hand) = (Shelf(), Hand())
        let transport = ScriptedTransport([.lost, .answer(Response(status: 503)), .answer(Response(status: 200))])
        let poster = ReceiptPoster(transport: transport) { enrolled }
        let before = Courier(storage: shelf, clock: { hand.now }) { await poster.post($0) }
        await before.add(receipt(.answered))
        await before.flush()
        hand.move(1)
        await before.flush()
        let after = Courier(storage: shelf, clock: { hand.now }) { await poster.post($0) }
        await after.flush()
        let (waiting, requests) = (await after.waiting, await transport.requests)
        XCTAssertEqual(waiting, [])
        XCTAssertNil(try shelf.load("outbox"))
        XCTAssertEqual(requests.count, 3)
        XCTAssertEqual(Set(requests.compactMap { $0.body.flatMap { JSON($0) }?["event_id"]?.string }).count, 1)
        XCTAssertEqual(Set(requests.map { $0.headers["Authorization"] }), ["Bearer token"])
        XCTAssertEqual(requests[0].url.absoluteString, "https://bridge.example.com/\(callID)")
    }

    func testAnAnswerBeforeTheFirstUnlockIsToldAfterItAndNothingThatWasKeptIsLost() async throws {
        let (shelf, hand) = (Shelf(), Hand())
        let transport = ScriptedTransport(Array(repeating: .answer(Response(status: 200)), count: 2))
        let earlier = receipt(.answered, makeRecord("earlier"))
        await Courier(storage: shelf, clock: { hand.now }) { _ in .lost }.add(earlier)
        shelf.lock(true)
        let poster = ReceiptPoster(transport: transport) {
            _ = try shelf.load("enrolment")
            return enrolled
        }
        let courier = Courier(storage: shelf, clock: { hand.now }) { await poster.post($0) }
        let night = CallBook.Record(callID: callID, target: .credential(callID: callID), expiresAt: now)
        await courier.add(receipt(.answered, night))
        await courier.flush()
        let before = await (courier.waiting.map(\.kind), transport.requests.count)
        XCTAssertEqual(before.0, [.answered], "it is tried again, and not given up")
        XCTAssertEqual(before.1, 0)
        shelf.lock(false)
        hand.move(1)
        let both = await courier.waiting.map(\.record.callID)
        XCTAssertEqual(both, ["earlier", callID])
        await courier.flush()
        let after = await (courier.waiting, transport.requests.map(\.url.path))
        XCTAssertEqual(after.0, [])
        XCTAssertEqual(after.1, ["/earlier", "/api/v1/calls/\(callID)/receipts"])
        XCTAssertNil(try shelf.load("outbox"))
    }

    func testACallsIdThatIsNoneLeadsNowhereElseWithTheCredential() async {
        let record = CallBook.Record(callID: "x/../../device?", target: .credential(callID: "x/../../device?"), expiresAt: now)
        let transport = ScriptedTransport([.answer(Response(status: 404))])
        _ = await ReceiptPoster(transport: transport) { enrolled }.post(receipt(.received, record))
        let requests = await transport.requests
        XCTAssertEqual(
            requests[0].url.absoluteString, "https://bridge.example.com/api/v1/calls/x%2F..%2F..%2Fdevice%3F/receipts"
        )
    }

    func testAReceiptThatIsTooOldIsForgottenAtTheNextStart() async {
        let (shelf, hand) = (Shelf(), Hand())
        await Courier(storage: shelf, clock: { hand.now }) { _ in .lost }.add(receipt(.received))
        hand.move(3600)
        let waiting = await Courier(storage: shelf, clock: { hand.now }) { _ in .lost }.waiting
        XCTAssertEqual(waiting, [])
    }

    func testAReceiptOfAnUnopenedPushGoesByTheDevicesCredential() async {
        let record = CallBook.Record(callID: callID, target: .credential(callID: callID), expiresAt: now)
        let transport = ScriptedTransport([.answer(Response(status: 200))])
        let attempt = await ReceiptPoster(transport: transport) { enrolled }.post(receipt(.received, record))
        let requests = await transport.requests
        XCTAssertEqual(attempt, .answered(status: 200, retryAfter: nil))
        XCTAssertEqual(requests[0].url.absoluteString, "https://bridge.example.com/api/v1/calls/\(callID)/receipts")
        XCTAssertEqual(requests[0].headers["Authorization"], "Bearer secret")
        let nowhere = await ReceiptPoster(transport: transport) { nil }.post(receipt(.received, record))
        XCTAssertEqual(nowhere, .answered(status: 400, retryAfter: nil))
    }
}
