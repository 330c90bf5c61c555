import Foundation

/// What the app holds once it has enrolled.
public struct Enrolment: Codable, Equatable, Sendable {
    public var url: String
    public var device: String
    public var owner: String
    public var credential: String
}

/// The link in the QR code, or what a person typed.
public struct EnrolmentLink: Equatable, Sendable {
    public var url: String
    public var code: String

    public init?(_ text: String) {
        guard let parts = URLComponents(string: text.trimmingCharacters(in: .whitespacesAndNewlines)),
              parts.scheme == "pushkit-bridge", parts.host == "enrol",
              let url = parts.queryItems?.first(where: { $0.name == "url" })?.value,
              let code = parts.queryItems?.first(where: { $0.name == "code" })?.value, !code.isEmpty
        else { return nil }
        self.init(url: url, code: code)
    }

    /// nil where the address is none: https, or http to this very machine (the simulator's Macs).
    public init?(url: String, code: String) {
        let trimmed = url.hasSuffix("/") ? String(url.dropLast()) : url
        guard let parts = URLComponents(string: trimmed), let host = parts.host, !host.isEmpty,
              parts.scheme == "https" || (parts.scheme == "http" && ["127.0.0.1", "::1", "[::1]", "localhost"].contains(host))
        else { return nil }
        self.url = trimmed
        self.code = code
    }
}

/// The phone's API (docs/phone-protocol.md). Whatever changes something can be repeated with the same event id.
public struct Bridge: Sendable {
    private let url: String
    private let credential: String
    private let transport: Transport

    public init(_ enrolment: Enrolment, transport: Transport) {
        url = enrolment.url
        credential = enrolment.credential
        self.transport = transport
    }

    /// Exchange a code for a credential. `publicKey`: for encrypted pages.
    public static func enrol(
        _ link: EnrolmentLink, name: String?, appVersion: String?, osVersion: String?, publicKey: Data?,
        transport: Transport
    ) async throws -> Enrolment {
        var body: [String: JSON] = ["code": .string(link.code)]
        body["name"] = name.map { .string($0) }
        body["app_version"] = appVersion.map { .string($0) }
        body["os_version"] = osVersion.map { .string($0) }
        body["encryption_key"] = publicKey.map { .string($0.base64url) }
        let answer = try await ask(transport, "POST", link.url + "/api/v1/enrol", nil, .object(body))
        guard let device = answer["device"]?.string, let owner = answer["owner"]?.string,
              let credential = answer["credential"]?.string else { throw BridgeError.unreadable }
        return Enrolment(url: link.url, device: device, owner: owner, credential: credential)
    }

    public func device() async throws -> Device { Device(try await ask("GET", "/api/v1/device")) }

    /// Tell the tokens that iOS gave; what is nil stays as it is.
    public func putTokens(_ tokens: Tokens) async throws -> Device {
        Device(try await ask("PUT", "/api/v1/device/tokens", tokens.body))
    }

    /// PushKit invalidated a token: `kind` is "voip" or "alert".
    public func forgetToken(_ kind: String) async throws -> Device {
        Device(try await ask("DELETE", "/api/v1/device/tokens/\(kind)"))
    }

    @discardableResult
    public func putEncryptionKey(_ publicKey: Data) async throws -> Device {
        Device(try await ask("PUT", Bridge.keyPath, .object(["encryption_key": .string(publicKey.base64url)])))
    }

    public func deleteEncryptionKey() async throws { _ = try await ask("DELETE", Bridge.keyPath) }

    /// Sign off: credential and tokens are forgotten.
    public func signOff() async throws { _ = try await ask("DELETE", "/api/v1/device") }

    /// One page of incidents, the newest first; `before` is the `next` of the page before.
    public func incidents(all: Bool = false, before: String? = nil) async throws -> (list: [Incident], next: String?) {
        var query = [URLQueryItem(name: "limit", value: "100")]
        if all { query.append(URLQueryItem(name: "state", value: "all")) }
        if let before { query.append(URLQueryItem(name: "before", value: before)) }
        let answer = try await ask("GET", "/api/v1/incidents", query: query)
        return ((answer["incidents"]?.array ?? []).compactMap(Incident.init), answer["next"]?.string)
    }

    public func incident(_ id: String) async throws -> Incident { try one(await ask("GET", incidentPath(id))) }

    /// All that a call is about, also what its push had no room for, or what this phone could not open.
    public func incidents(ofCall id: String) async throws -> [Incident] {
        let answer = try await ask("GET", "/api/v1/calls/\(Bridge.escaped(id))")
        return (answer["incidents"]?.array ?? []).compactMap(Incident.init)
    }

    /// Do something to an incident; the same `eventID` again has no second effect.
    public func act(_ act: Act, on id: String, eventID: UUID) async throws -> Incident {
        var body = act.fields
        body["event_id"] = .string(eventID.uuidString.lowercased())
        return try one(await ask("POST", incidentPath(id) + "/" + act.verb, .object(body)))
    }

    /// Open the event stream, from `lastEventID` on.
    public func events(after lastEventID: String) async throws -> AsyncThrowingStream<Data, Error> {
        var request = try Bridge.request("GET", url + "/api/v1/events", credential)
        request.headers["Accept"] = "text/event-stream"
        if !lastEventID.isEmpty { request.headers["Last-Event-ID"] = lastEventID }
        let (status, bytes) = try await transport.stream(request)
        guard status == 200 else { _ = try Bridge.read(Response(status: status)); throw BridgeError.unreadable }
        return bytes
    }

    // MARK: parts

    private static let keyPath = "/api/v1/device/encryption-key"

    private func incidentPath(_ id: String) -> String { "/api/v1/incidents/" + Bridge.escaped(id) }

    /// A call's id comes from a push, and may be anything.
    static func escaped(_ part: String) -> String {
        part.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-_."))) ?? ""
    }

    private func one(_ answer: JSON) throws -> Incident {
        guard let incident = Incident(answer) else { throw BridgeError.unreadable }
        return incident
    }

    private func ask(_ method: String, _ path: String, _ body: JSON? = nil, query: [URLQueryItem] = []) async throws -> JSON {
        var parts = URLComponents()
        parts.queryItems = query.isEmpty ? nil : query
        return try await Bridge.ask(transport, method, url + path + (parts.string ?? ""), credential, body)
    }

    private static func ask(
        _ transport: Transport, _ method: String, _ url: String, _ credential: String?, _ body: JSON? = nil
    ) async throws -> JSON {
        var request = try request(method, url, credential)
        if let body {
            request.body = body.data
            request.headers["Content-Type"] = "application/json"
        }
        return try read(await transport.send(request))
    }

    static func request(_ method: String, _ address: String, _ credential: String?) throws -> Request {
        guard let url = URL(string: address), url.host != nil else { throw BridgeError.badAddress(address) }
        let headers = credential.map { ["Authorization": "Bearer \($0)"] } ?? [:]
        return Request(method: method, url: url, headers: headers, body: nil)
    }

    private static func read(_ answer: Response) throws -> JSON {
        let said = JSON(answer.body) ?? .object([:])
        switch answer.status {
        case 200..<300: return said
        case 401: throw BridgeError.revoked
        case 429: throw BridgeError.tooMany(retryAfter: answer.retryAfter ?? 10)
        default:
            throw BridgeError.refused(
                status: answer.status, message: said["error"]?.string ?? "no reason given", hint: said["hint"]?.string ?? ""
            )
        }
    }
}

/// Makes one attempt to post a receipt.
public struct ReceiptPoster: Sendable {
    private let enrolment: @Sendable () throws -> Enrolment?
    private let transport: Transport

    /// `enrolment` gives nil where the phone has signed off, and throws where it cannot be read now.
    public init(transport: Transport, enrolment: @escaping @Sendable () throws -> Enrolment?) {
        self.transport = transport
        self.enrolment = enrolment
    }

    public func post(_ receipt: Receipt) async -> Attempt {
        let found: Request?
        do { found = try request(receipt) } catch { return .lost }  // told once the phone is unlocked
        guard var request = found else { return .answered(status: 400, retryAfter: nil) }
        request.body = receipt.body.data
        request.headers["Content-Type"] = "application/json"
        guard let answer = try? await transport.send(request) else { return .lost }
        return .answered(status: answer.status, retryAfter: answer.retryAfter)
    }

    /// nil where there is nowhere to post to: the URL is none, or the phone has signed off. Throws where the
    /// credential cannot be read now.
    private func request(_ receipt: Receipt) throws -> Request? {
        switch receipt.record.target {
        case .pushed(let url, let token):
            return try? Bridge.request("POST", url, token)
        case .credential(let callID):
            guard let enrolled = try enrolment() else { return nil }
            let path = "/api/v1/calls/\(Bridge.escaped(callID))/receipts"
            return try? Bridge.request("POST", enrolled.url + path, enrolled.credential)
        }
    }
}
