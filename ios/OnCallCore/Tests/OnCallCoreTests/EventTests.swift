import XCTest

@testable import OnCallCore

final class EventTests: XCTestCase {
    func testTheStreamsOfTheVectorsAreReadHoweverTheyAreCut() throws {
        for one in try vectors("streams.json")["cases"]!.array! {
            let (name, bytes) = (one["name"]!.string!, Data(one["text"]!.string!.utf8))
            for size in [1, 2, 7, bytes.count] {
                var parser = EventParser()
                var events: [ServerEvent] = []
                for start in stride(from: 0, to: bytes.count, by: size) {
                    events += parser.feed(bytes[start..<min(start + size, bytes.count)])
                }
                let expected = one["events"]!.array!.map {
                    ServerEvent(name: $0["name"]!.string!, data: $0["data"]!.string!, id: $0["id"]!.string!)
                }
                XCTAssertEqual(events, expected, "\(name), by \(size)")
                XCTAssertEqual(parser.lastEventID, one["last_event_id"]?.string, name)
                XCTAssertEqual(JSON.number(parser.retry), one["retry"], name)
            }
        }
    }

    func testAStreamThatBreaksIsTakenUpWhereItBroke() async {
        let transport = ScriptedTransport([
            .stream(200, ["id: 41\n\n", "id: 42\nevent: incident\ndata: {\"incident\":{\"id\":\"i\"}}\n\nid: 43\nevent: inc"]),
            .lost,
            .stream(503, []),
            .stream(200, ["event: call_ended\ndata: {\"call\":\"c\",\"reason\":\"resolved\",\"text\":\"t\"}\n\n", "event: new\ndata: {}\n\n"]),
            .stream(401, []),
        ])
        let ear = Ear()
        let stream = EventStream(Bridge(enrolled, transport: transport)) { await ear.slept($0) }
        await stream.follow { await ear.hear($0) }
        let (heard, pauses) = (await ear.heard, await ear.pauses)
        XCTAssertEqual(heard, [
            .opened, .incident(Incident(json(#"{"id": "i"}"#))!),
            .opened, .callEnded(callID: "c", reason: "resolved", text: "t"), .revoked,
        ])
        XCTAssertEqual(pauses, [1, 1, 1, 1])
        let asked = await transport.requests.map { $0.headers["Last-Event-ID"] }
        XCTAssertEqual(asked, [nil, "42", "42", "42", "42"])
    }
}

/// Remembers what a stream said.
actor Ear {
    private(set) var heard: [Heard] = []
    private(set) var pauses: [TimeInterval] = []

    func hear(_ one: Heard) { heard.append(one) }
    func slept(_ seconds: TimeInterval) { pauses.append(seconds) }
}
