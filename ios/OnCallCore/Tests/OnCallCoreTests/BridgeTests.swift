import XCTest

@testable import OnCallCore

final class BridgeTests: XCTestCase {
    private func bridge(_ script: [ScriptedTransport.Step]) -> (Bridge, ScriptedTransport) {
        let transport = ScriptedTransport(script)
        return (Bridge(enrolled, transport: transport), transport)
    }

    private func ok(_ text: String) -> ScriptedTransport.Step { .answer(Response(status: 200, body: Data(text.utf8))) }

    func testTheLinkOfTheDocumentIsRead() {
        let link = EnrolmentLink("pushkit-bridge://enrol?url=https://bridge.example.com&code=7K2M-Q9XD-4TNP")
        XCTAssertEqual(link, EnrolmentLink(url: "https://bridge.example.com/", code: "7K2M-Q9XD-4TNP"))
        XCTAssertEqual(EnrolmentLink("pushkit-bridge://enrol?url=https%3A%2F%2Fb%2Fx&code=1")?.url, "https://b/x")
    }

    func testOtherCodesThanEnrolmentLinksAreRefused() {
        for text in ["", "https://bridge.example.com", "pushkit-bridge://enrol?url=https://b", "pushkit-bridge://other?url=https://b&code=1", "pushkit-bridge://enrol?url=ftp://b&code=1", "pushkit-bridge://enrol?url=http://bridge.example.com&code=1", "pushkit-bridge://enrol?url=&code=1"] {
            XCTAssertNil(EnrolmentLink(text), text)
        }
    }

    func testEnrolmentHandsOverTheKeyAndGivesTheCredential() async throws {
        let transport = ScriptedTransport([ok(#"{"device": "a", "owner": "alice", "credential": "secret"}"#)])
        let link = EnrolmentLink(url: "https://bridge.example.com", code: "7K2M")!
        let got = try await Bridge.enrol(
            link, name: "a", appVersion: "1.4 (212)", osVersion: nil, publicKey: Data([0xFB, 0xFF]), transport: transport
        )
        let requests = await transport.requests
        XCTAssertEqual(got, enrolled)
        XCTAssertEqual(requests[0].url.path, "/api/v1/enrol")
        XCTAssertNil(requests[0].headers["Authorization"])
        XCTAssertEqual(
            JSON(requests[0].body!), json(#"{"code": "7K2M", "name": "a", "app_version": "1.4 (212)", "encryption_key": "-_8"}"#)
        )
    }

    func testTokensAreWrittenInHexAndWhatIsMissingIsLeftOut() async throws {
        let (bridge, transport) = bridge([ok(#"{"name": "a", "would_ring": true, "troubles": ["x"], "new": 1}"#)])
        let device = try await bridge.putTokens(Tokens(voip: Data([0x0F, 0x1E]), environment: "sandbox", bundleID: "b"))
        let request = await transport.requests[0]
        XCTAssertEqual([request.method, request.url.path], ["PUT", "/api/v1/device/tokens"])
        XCTAssertEqual(request.headers["Authorization"], "Bearer secret")
        XCTAssertEqual(JSON(request.body!), json(#"{"voip_token": "0f1e", "environment": "sandbox", "bundle_id": "b"}"#))
        XCTAssertTrue(device.wouldRing)
        XCTAssertEqual(device.troubles, ["x"])
    }

    func testAKeyThatIsPutIsAnsweredByWhatTheBridgeSealsFor() async throws {
        let (bridge, transport) = bridge([ok(#"{"kid": "0f"}"#)])
        let device = try await bridge.putEncryptionKey(Data([0xFB, 0xFF]))
        let request = await transport.requests[0]
        XCTAssertEqual([request.method, request.url.path], ["PUT", "/api/v1/device/encryption-key"])
        XCTAssertEqual(JSON(request.body!), json(#"{"encryption_key": "-_8"}"#))
        XCTAssertEqual(device.keyID, "0f")
    }

    func testARefusalIsToldInTheBridgesWords() async {
        let (bridge, _) = bridge([
            .answer(Response(status: 401)), .answer(Response(status: 429, headers: ["retry-after": "17"])),
            .answer(Response(status: 404, body: Data(#"{"error": "no such incident", "hint": "list them"}"#.utf8))),
            .answer(Response(status: 503, body: Data("<html>".utf8))),
        ])
        for expected in [
            BridgeError.revoked, .tooMany(retryAfter: 17),
            .refused(status: 404, message: "no such incident", hint: "list them"),
            .refused(status: 503, message: "no reason given", hint: ""),
        ] {
            do {
                _ = try await bridge.device()
                XCTFail("\(expected)")
            } catch { XCTAssertEqual(error as? BridgeError, expected) }
        }
    }

    func testAnActCarriesItsEventIdAndAnswersTheIncident() async throws {
        let event = UUID()
        let (bridge, transport) = bridge(Array(repeating: ok(#"{"id": "i", "state": "acknowledged"}"#), count: 3))
        for act in [Act.acknowledge, .silence(seconds: 3600), .note("seen")] {
            let incident = try await bridge.act(act, on: "i/../x", eventID: event)
            XCTAssertEqual(incident.state, "acknowledged")
        }
        let requests = await transport.requests
        XCTAssertEqual(requests.map { $0.url.lastPathComponent }, ["acknowledge", "silence", "notes"])
        XCTAssertTrue(requests[0].url.absoluteString.contains("i%2F..%2Fx"))
        let bodies = requests.compactMap { JSON($0.body!) }
        XCTAssertEqual(bodies.map { $0["event_id"]?.string }, Array(repeating: event.uuidString.lowercased(), count: 3))
        XCTAssertEqual(bodies[1]["seconds"]?.int, 3600)
        XCTAssertEqual(bodies[2]["text"]?.string, "seen")
    }

    func testThePagesOfTheListFollowEachOther() async throws {
        let (bridge, transport) = bridge([ok(#"{"incidents": [{"id": "a"}, {"no": 1}], "next": "a b"}"#), ok("{}")])
        let first = try await bridge.incidents()
        XCTAssertEqual(first.list.map(\.id), ["a"])
        _ = try await bridge.incidents(all: true, before: first.next)
        let requests = await transport.requests
        XCTAssertEqual(requests[0].url.query, "limit=100")
        XCTAssertEqual(requests[1].url.query, "limit=100&state=all&before=a%20b")
    }

    func testTheOpenIncidentsComeFirstThenTheNewest() {
        var inbox = Inbox()
        func make(_ id: String, _ state: String, _ hour: Int) -> Incident {
            Incident(json(#"{"id": "\#(id)", "state": "\#(state)", "opened_at": "2026-11-25T1\#(hour):00:00.000Z"}"#))!
        }
        inbox.fill([make("a", "triggered", 1), make("b", "resolved", 3), make("c", "acknowledged", 2)])
        XCTAssertEqual(inbox.list.map(\.id), ["c", "a", "b"])
        inbox.put(make("a", "resolved", 1))
        XCTAssertEqual(inbox.list.map(\.id), ["c", "b", "a"])
        for number in 0..<30 { inbox.put(make("x\(number)", "resolved", 4)) }
        XCTAssertEqual(inbox.list.filter { !$0.open }.count, Inbox.closedKept)
    }
}
