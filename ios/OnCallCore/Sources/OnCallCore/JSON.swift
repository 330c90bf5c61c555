import Foundation

/// Any JSON value. What the bridge sends is read through it, so that a field that is not as expected costs that
/// field alone, never the whole push.
public enum JSON: Codable, Equatable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    public init(from decoder: Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let array = try? value.decode([JSON].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }

    public func encode(to encoder: Encoder) throws {
        var place = encoder.singleValueContainer()
        switch self {
        case .null: try place.encodeNil()
        case .bool(let bool): try place.encode(bool)
        case .number(let number):
            if let whole = Int(exactly: number) { try place.encode(whole) } else { try place.encode(number) }
        case .string(let string): try place.encode(string)
        case .array(let array): try place.encode(array)
        case .object(let object): try place.encode(object)
        }
    }

    /// Read UTF-8 JSON; nil where it is none.
    public init?(_ data: Data) {
        guard let value = try? JSONDecoder().decode(JSON.self, from: data) else { return nil }
        self = value
    }

    /// Read what PushKit and UserNotifications hand over; nil where it is not JSON.
    public init?(dictionary: [AnyHashable: Any]) {
        let fields = Dictionary(dictionary.map { (String(describing: $0.key), $0.value) }) { first, _ in first }
        guard JSONSerialization.isValidJSONObject(fields),
              let data = try? JSONSerialization.data(withJSONObject: fields) else { return nil }
        self.init(data)
    }

    /// The UTF-8 JSON of it.
    public var data: Data { (try? JSONEncoder().encode(self)) ?? Data() }

    public subscript(name: String) -> JSON? { object?[name] }

    public var object: [String: JSON]? { if case .object(let it) = self { it } else { nil } }
    public var array: [JSON]? { if case .array(let it) = self { it } else { nil } }
    public var string: String? { if case .string(let it) = self { it } else { nil } }
    public var bool: Bool? { if case .bool(let it) = self { it } else { nil } }

    /// A whole number; nil for any other.
    public var int: Int? { if case .number(let it) = self { Int(exactly: it) } else { nil } }

    /// A time of RFC 3339, with or without fractions of a second.
    public var time: Date? { string.flatMap(Time.read) }
}

/// Times as the phone protocol writes them: RFC 3339 in UTC with milliseconds.
public enum Time {
    public static func read(_ text: String) -> Date? {
        let reader = ISO8601DateFormatter()
        for options: ISO8601DateFormatter.Options in [[.withInternetDateTime, .withFractionalSeconds], [.withInternetDateTime]] {
            reader.formatOptions = options
            if let date = reader.date(from: text) { return date }
        }
        return nil
    }

    public static func write(_ date: Date) -> String {
        let writer = ISO8601DateFormatter()
        writer.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        return writer.string(from: date)
    }
}

extension Data {
    /// Read base64url without padding, as the sealed payload writes it; nil where it is not that.
    init?(base64url text: String) {
        var plain = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        guard !text.contains("="), !text.contains("+"), !text.contains("/") else { return nil }
        plain += String(repeating: "=", count: (4 - plain.count % 4) % 4)
        self.init(base64Encoded: plain)
    }

    /// Base64url without padding.
    public var base64url: String {
        base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    /// Lower-case hex, as tokens are written.
    public var hex: String { map { String(format: "%02x", $0) }.joined() }
}
