import Foundation

/// One HTTP request.
public struct Request: Equatable, Sendable {
    public var method: String
    public var url: URL
    public var headers: [String: String]
    public var body: Data?
}

/// Its answer. Header names are in lower case.
public struct Response: Equatable, Sendable {
    public var status: Int
    public var headers: [String: String]
    public var body: Data

    public init(status: Int, headers: [String: String] = [:], body: Data = Data()) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The seconds of `Retry-After`; nil without one.
    var retryAfter: TimeInterval? {
        headers["retry-after"].flatMap(Int.init).flatMap { (0...9999).contains($0) ? TimeInterval($0) : nil }
    }
}

/// What carries requests. It follows no redirect, keeps no cookies and no cache, and gives up a connection that is
/// silent for 45 seconds (the bridge's stream gives a sign of life at least every 15).
public protocol Transport: Sendable {
    func send(_ request: Request) async throws -> Response
    /// Open a stream: the status, and the bytes as they come.
    func stream(_ request: Request) async throws -> (status: Int, bytes: AsyncThrowingStream<Data, Error>)
}

/// Why the bridge did not do as it was asked.
public enum BridgeError: Error, Equatable, Sendable {
    /// The credential is unknown or revoked: forget it, and ask the person to enrol again.
    case revoked
    /// Asked for patience; do not forget the credential.
    case tooMany(retryAfter: TimeInterval)
    /// Any other refusal, in the bridge's words.
    case refused(status: Int, message: String, hint: String)
    /// The answer could not be read.
    case unreadable
    /// The address is no URL.
    case badAddress(String)
}
