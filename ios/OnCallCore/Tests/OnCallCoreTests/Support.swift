import Foundation
import XCTest

@testable import OnCallCore

let now = Time.read("2026-11-25T12:00:00.000Z")!
let callID = "0d9c6c3e-4a57-5f0e-8c38-0f6d8f6d3c11"
let callUUID = UUID(uuidString: "5b0e2a52-93a1-5d7b-9d0e-3d1f4f7a9b20")!
let spare = UUID(uuidString: "00000000-0000-4000-8000-000000000001")!
let enrolled = Enrolment(url: "https://bridge.example.com", device: "a", owner: "alice", credential: "secret")

/// A file of the vectors that the Python tests read too.
func vectors(_ name: String, from file: String = #filePath) throws -> JSON {
    let root = (0..<5).reduce(URL(fileURLWithPath: file)) { path, _ in path.deletingLastPathComponent() }
    let data = try Data(contentsOf: root.appendingPathComponent("contract/vectors/\(name)"))
    return try XCTUnwrap(JSON(data), name)
}

func makePush(_ id: String = callID, uuid: UUID = callUUID, seconds: TimeInterval = 30, receipts: Bool = true) -> Reading {
    var call: [String: JSON] = [
        "id": .string(id), "uuid": .string(uuid.uuidString),
        "expires_at": .string(Time.write(now.addingTimeInterval(seconds))),
    ]
    if receipts {
        call["receipt_url"] = .string("https://bridge.example.com/\(id)")
        call["receipt_token"] = .string("token")
    }
    return Push.read(.object([
        "aps": .object([:]), "v": .number(1), "call": .object(call), "caller_name": .string("CRITICAL DiskFull"),
        "reason": .string("platform: Disk full on i1"),
    ]))
}

func makeRecord(_ id: String = callID, seconds: TimeInterval = 30) -> CallBook.Record {
    CallBook.Record(
        callID: id, target: .pushed(url: "https://bridge.example.com/\(id)", token: "token"),
        expiresAt: now.addingTimeInterval(seconds)
    )
}

/// A transport that answers from a script and remembers what it was asked.
actor ScriptedTransport: Transport {
    enum Step: Sendable { case answer(Response), lost, stream(Int, [String]) }

    private var script: [Step]
    private(set) var requests: [Request] = []

    init(_ script: [Step]) { self.script = script }

    private func next(_ request: Request) throws -> Step {
        requests.append(request)
        guard !script.isEmpty else { throw URLError(.notConnectedToInternet) }
        return script.removeFirst()
    }

    func send(_ request: Request) async throws -> Response {
        guard case .answer(let answer) = try next(request) else { throw URLError(.networkConnectionLost) }
        return answer
    }

    func stream(_ request: Request) async throws -> (status: Int, bytes: AsyncThrowingStream<Data, Error>) {
        guard case .stream(let status, let chunks) = try next(request) else { throw URLError(.networkConnectionLost) }
        let bytes = AsyncThrowingStream<Data, Error> { stream in
            for chunk in chunks { stream.yield(Data(chunk.utf8)) }
            stream.finish()
        }
        return (status, bytes)
    }
}

/// Storage that outlives what is built on it.
final class Shelf: Storage, @unchecked Sendable {
    private let lock = NSLock()
    private var kept: [String: Data] = [:]
    private var locked = false

    struct Locked: Error {}

    /// As the keychain is from a restart of the phone until it is unlocked.
    func lock(_ locked: Bool) { lock.withLock { self.locked = locked } }

    func load(_ name: String) throws -> Data? { try open { kept[name] } }
    func save(_ name: String, _ data: Data?) throws { try open { kept[name] = data } }

    private func open<Value>(_ what: () -> Value) throws -> Value {
        try lock.withLock {
            if locked { throw Locked() }
            return what()
        }
    }
}

/// A clock that the test moves.
final class Hand: @unchecked Sendable {
    private let lock = NSLock()
    private var at = OnCallCoreTests.now

    var now: Date { lock.withLock { at } }
    func move(_ seconds: TimeInterval) { lock.withLock { at += seconds } }
}

func json(_ text: String) -> JSON { JSON(Data(text.utf8))! }
