import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// The transport over URLSession: no redirect is followed with a credential, nothing is cached, and a connection that
/// is silent for 45 seconds is given up.
public final class URLSessionTransport: NSObject, Transport, URLSessionDataDelegate, @unchecked Sendable {
    private enum Waiting {
        case whole(CheckedContinuation<Response, Error>, Data)
        case opening(CheckedContinuation<(status: Int, bytes: AsyncThrowingStream<Data, Error>), Error>)
        case flowing(AsyncThrowingStream<Data, Error>.Continuation)
    }

    private let lock = NSLock()
    private var waiting: [Int: Waiting] = [:]
    private var session: URLSession!

    public override init() {
        super.init()
        let settings = URLSessionConfiguration.ephemeral
        settings.timeoutIntervalForRequest = 45
        settings.httpCookieStorage = nil
        settings.urlCache = nil
        session = URLSession(configuration: settings, delegate: self, delegateQueue: nil)
    }

    public func send(_ request: Request) async throws -> Response {
        try await withCheckedThrowingContinuation { start(request, .whole($0, Data())) }
    }

    public func stream(_ request: Request) async throws -> (status: Int, bytes: AsyncThrowingStream<Data, Error>) {
        try await withCheckedThrowingContinuation { start(request, .opening($0)) }
    }

    private func start(_ request: Request, _ what: Waiting) {
        var asked = URLRequest(url: request.url)
        asked.httpMethod = request.method
        asked.httpBody = request.body
        for (name, value) in request.headers { asked.setValue(value, forHTTPHeaderField: name) }
        let task = session.dataTask(with: asked)
        lock.withLock { waiting[task.taskIdentifier] = what }
        task.resume()
    }

    public func urlSession(
        _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
        newRequest request: URLRequest, completionHandler: @escaping @Sendable (URLRequest?) -> Void
    ) {
        completionHandler(nil)
    }

    public func urlSession(
        _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
    ) {
        lock.withLock {
            guard case .opening(let opener) = waiting[dataTask.taskIdentifier] else { return }
            let (bytes, flow) = AsyncThrowingStream<Data, Error>.makeStream()
            flow.onTermination = { if case .cancelled = $0 { dataTask.cancel() } }
            waiting[dataTask.taskIdentifier] = .flowing(flow)
            opener.resume(returning: ((response as? HTTPURLResponse)?.statusCode ?? 0, bytes))
        }
        completionHandler(.allow)
    }

    public func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        lock.withLock {
            switch waiting[dataTask.taskIdentifier] {
            case .whole(let asker, let sofar): waiting[dataTask.taskIdentifier] = .whole(asker, sofar + data)
            case .flowing(let flow): flow.yield(data)
            case .opening, nil: break
            }
        }
    }

    public func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
        let done = lock.withLock { waiting.removeValue(forKey: task.taskIdentifier) }
        switch done {
        case .whole(let asker, let body):
            if let error { asker.resume(throwing: error) } else { asker.resume(returning: answer(task, body)) }
        case .opening(let opener): opener.resume(throwing: error ?? URLError(.badServerResponse))
        case .flowing(let flow): flow.finish(throwing: error)
        case nil: break
        }
    }

    private func answer(_ task: URLSessionTask, _ body: Data) -> Response {
        let answer = task.response as? HTTPURLResponse
        let headers = (answer?.allHeaderFields ?? [:]).map { (String(describing: $0.key).lowercased(), String(describing: $0.value)) }
        return Response(status: answer?.statusCode ?? 0, headers: Dictionary(headers) { first, _ in first }, body: body)
    }
}
