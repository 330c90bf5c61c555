import XCTest

@testable import OnCallCore

/// Against a running bridge: `tests/ios/test_swift_live.py` starts one, and says in ONCALL_LIVE where.
final class LiveTests: XCTestCase {
    private let transport = URLSessionTransport()
    private var keys = KeyRing()

    private func live() throws -> JSON {
        let said = ProcessInfo.processInfo.environment["ONCALL_LIVE"] ?? ""
        guard let live = JSON(Data(said.utf8)) else { throw XCTSkip("no bridge was named in ONCALL_LIVE") }
        return live
    }

    private func hex(_ text: String?) -> Data {
        let digits = Array(text ?? "")
        return Data(stride(from: 0, to: digits.count - 1, by: 2).compactMap { UInt8(String(digits[$0...$0 + 1]), radix: 16) })
    }

    private func eventually(_ what: String, _ look: () async -> Bool) async throws {
        let end = Date().addingTimeInterval(30)
        while !(await look()) {
            guard Date() < end else { return XCTFail("waited in vain for \(what)") }
            try await Task.sleep(nanoseconds: 20_000_000)
        }
    }

    func testACallIsAnsweredAndTheBridgeTellsSoOnItsStream() async throws {
        let live = try live()
        let link = try XCTUnwrap(live["link"]?.string.flatMap { EnrolmentLink($0) })
        let key = try keys.rotate(with: PlainHPKE(), now: Date())
        let enrolment = try await Bridge.enrol(
            link, name: nil, appVersion: "1", osVersion: "26.4", publicKey: key.publicKey, transport: transport
        )
        let bridge = Bridge(enrolment, transport: transport)
        let ear = Ear()
        let following = Task { await EventStream(bridge).follow { await ear.hear($0) } }
        defer { following.cancel() }
        try await eventually("the stream to open") { await ear.heard.contains(.opened) }

        let device = try await bridge.putTokens(Tokens(
            voip: hex(live["voip_token"]?.string), alert: hex(live["alert_token"]?.string),
            environment: live["environment"]?.string, bundleID: live["bundle_id"]?.string
        ))
        XCTAssertTrue(device.hasVoIPToken && device.hasAlertToken && device.wouldRing, "\(device)")

        let id = try await answer(live["push_url"]?.string ?? "", enrolment)
        let incident = try await bridge.incident(id)
        XCTAssertEqual([incident.state, incident.acknowledgedBy], ["acknowledged", enrolment.owner])
        XCTAssertFalse(incident.alerts.isEmpty || incident.timeline.isEmpty)
        try await eventually("the stream to tell of the answer") {
            await ear.heard.contains { if case .incident(let it) = $0 { it.state == "acknowledged" } else { false } }
        }
        try await act(bridge, id)
        try await bridge.signOff()
        try await eventually("the stream to say that the phone is unknown") { await ear.heard.last == .revoked }
    }

    /// Take the push that APNs delivered, show it, answer it; gives the incident.
    private func answer(_ pushURL: String, _ enrolment: Enrolment) async throws -> String {
        let pushed = try await transport.send(Bridge.request("GET", pushURL, nil))
        let reading = keys.open(Push.read(JSON(pushed.body)), with: PlainHPKE())  // sealed, where the bridge seals
        guard case .push(let push) = reading else { throw BridgeError.unreadable }
        XCTAssertNil(push.sealed)
        let poster = ReceiptPoster(transport: transport) { enrolment }
        let courier = Courier(storage: Shelf()) { await poster.post($0) }
        var book = CallBook()
        _ = book.arrived(reading, now: Date(), spare: UUID())
        let posts = book.reported(ticket: 1, errorCode: nil, now: Date()) + book.answer(push.uuid)
        for command in posts {
            guard case .post(let record, let kind, let errorCode) = command else { continue }
            await courier.add(Receipt(record, kind, errorCode: errorCode, at: Date(), eventID: UUID()))
        }
        let waiting = await courier.waiting.map(\.kind)
        XCTAssertEqual(waiting, [.received, .answered])
        await courier.run()
        return try XCTUnwrap(push.page.incidents.first?.id)
    }

    private func act(_ bridge: Bridge, _ id: String) async throws {
        let list = try await bridge.incidents().list
        XCTAssertEqual(list.map(\.id), [id])
        let event = UUID()
        for _ in 0..<2 { _ = try await bridge.act(.note("seen"), on: id, eventID: event) }
        let noted = try await bridge.incident(id).timeline.filter { $0.text.contains("seen") }
        XCTAssertEqual(noted.count, 1, "the same event id has no second effect")
        let silenced = try await bridge.act(.silence(seconds: 60), on: id, eventID: UUID())
        XCTAssertNotNil(silenced.silencedUntil)
    }
}
