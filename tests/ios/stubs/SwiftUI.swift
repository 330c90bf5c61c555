// The part of Apple's SwiftUI (and Combine) that the app uses, as its documentation declares it; nothing works.
@_exported import Foundation
import UIKit

// MARK: state

public protocol ObservableObject: AnyObject {}
@propertyWrapper public struct Published<Value> {
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
    public var wrappedValue: Value
}
@propertyWrapper public struct State<Value> {
    public init(wrappedValue: Value) { initial = wrappedValue }
    private let initial: Value
    public var wrappedValue: Value { get { initial } nonmutating set {} }
    public var projectedValue: Binding<Value> { Binding(get: { initial }, set: { _ in }) }
}
@propertyWrapper public struct ObservedObject<Value: ObservableObject> {
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
    public var wrappedValue: Value
}
@propertyWrapper public struct Binding<Value> {
    public init(get: @escaping () -> Value, set: @escaping (Value) -> Void) { (getter, setter) = (get, set) }
    private let getter: () -> Value
    private let setter: (Value) -> Void
    public var wrappedValue: Value { get { getter() } nonmutating set { setter(newValue) } }
}
public struct EnvironmentValues { public var scenePhase: ScenePhase { .active } }
public enum ScenePhase: Equatable { case background, inactive, active }
@propertyWrapper public struct Environment<Value> {
    public init(_ path: KeyPath<EnvironmentValues, Value>) { self.path = path }
    private let path: KeyPath<EnvironmentValues, Value>
    public var wrappedValue: Value { EnvironmentValues()[keyPath: path] }
}
@propertyWrapper public struct UIApplicationDelegateAdaptor<Delegate: NSObject & UIApplicationDelegate> {
    public init(_ type: Delegate.Type = Delegate.self) {}
    public var wrappedValue: Delegate { fatalError() }
}

// MARK: views

@MainActor public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}
extension Never: View { public var body: Never { fatalError() } }
public protocol Plain: View where Body == Never {}
extension Plain { public var body: Never { fatalError() } }
public struct EmptyView: Plain { nonisolated public init() {} }
public struct TupleView<T>: Plain { nonisolated init() {} }
public struct Modified: Plain { nonisolated init() {} }
public struct Either<A: View, B: View>: Plain { nonisolated init() {} }
extension Optional: View where Wrapped: View { public var body: Never { fatalError() } }

@resultBuilder public struct ViewBuilder {
    public static func buildBlock() -> EmptyView { EmptyView() }
    public static func buildBlock<V: View>(_ view: V) -> V { view }
    public static func buildBlock<each V: View>(_ view: repeat each V) -> TupleView<(repeat each V)> { TupleView() }
    public static func buildExpression<V: View>(_ view: V) -> V { view }
    public static func buildIf<V: View>(_ view: V?) -> V? { view }
    public static func buildEither<A: View, B: View>(first: A) -> Either<A, B> { Either() }
    public static func buildEither<A: View, B: View>(second: B) -> Either<A, B> { Either() }
}

public enum HorizontalAlignment { case leading, center, trailing }
public struct Color: Sendable { public static let primary = Color(), orange = Color(), red = Color() }
public struct Font: Sendable { public static let headline = Font(), subheadline = Font(), caption = Font() }
public struct ButtonRole: Sendable { public static let destructive = ButtonRole() }

public struct Text: Plain { public init<S: StringProtocol>(_ content: S) {} }
public struct Label: Plain { public init<S: StringProtocol>(_ title: S, systemImage: String) {} }
public struct Link: Plain { public init<S: StringProtocol>(_ title: S, destination: URL) {} }
public struct TextField: Plain { public init<S: StringProtocol>(_ title: S, text: Binding<String>) {} }
public struct Button: Plain {
    public init<S: StringProtocol>(_ title: S, action: @escaping @MainActor () -> Void) {}
    public init<S: StringProtocol>(_ title: S, role: ButtonRole?, action: @escaping @MainActor () -> Void) {}
}
public struct Group<Content: View>: Plain { public init(@ViewBuilder content: () -> Content) {} }
public struct List<Content: View>: Plain { public init(@ViewBuilder content: () -> Content) {} }
public struct Form<Content: View>: Plain { public init(@ViewBuilder content: () -> Content) {} }
public struct TabView<Content: View>: Plain { public init(@ViewBuilder content: () -> Content) {} }
public struct NavigationStack<Root: View>: Plain { public init(@ViewBuilder root: () -> Root) {} }
public struct Section<Content: View>: Plain {
    public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {}
}
public struct VStack<Content: View>: Plain {
    public init(alignment: HorizontalAlignment = .center, @ViewBuilder content: () -> Content) {}
}
public struct NavigationLink<Title: View, Destination: View>: Plain {
    public init(@ViewBuilder destination: () -> Destination, @ViewBuilder label: () -> Title) {}
}
public struct ForEach<Items: RandomAccessCollection, ID: Hashable, Content: View>: Plain {
    public init(_ data: Items, id: KeyPath<Items.Element, ID>, @ViewBuilder content: @escaping (Items.Element) -> Content) {}
}
extension ForEach where Items.Element: Identifiable, ID == Items.Element.ID {
    public init(_ data: Items, @ViewBuilder content: @escaping (Items.Element) -> Content) {}
}

extension View {
    public func tabItem<V: View>(@ViewBuilder _ label: () -> V) -> some View { Modified() }
    public func navigationTitle<S: StringProtocol>(_ title: S) -> some View { Modified() }
    public func refreshable(action: @escaping @Sendable () async -> Void) -> some View { Modified() }
    public func task(_ action: @escaping @Sendable () async -> Void) -> some View { Modified() }
    public func font(_ font: Font?) -> some View { Modified() }
    public func foregroundStyle(_ color: Color) -> some View { Modified() }
    public func disabled(_ disabled: Bool) -> some View { Modified() }
    public func sheet<V: View>(isPresented: Binding<Bool>, @ViewBuilder content: @escaping () -> V) -> some View { Modified() }
    public func alert<S: StringProtocol, V: View>(
        _ title: S, isPresented: Binding<Bool>, @ViewBuilder actions: () -> V
    ) -> some View { Modified() }
    public func onChange<Value: Equatable>(of value: Value, _ action: @escaping (Value, Value) -> Void) -> some View { Modified() }
}

public struct UIViewControllerRepresentableContext<Representable> {}
@MainActor public protocol UIViewControllerRepresentable: View where Body == Never {
    associatedtype UIViewControllerType: UIViewController
    typealias Context = UIViewControllerRepresentableContext<Self>
    func makeUIViewController(context: Context) -> UIViewControllerType
    func updateUIViewController(_ controller: UIViewControllerType, context: Context)
}
extension UIViewControllerRepresentable { public var body: Never { fatalError() } }

// MARK: scenes

@MainActor public protocol Scene {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
}
extension Never: Scene {}
@resultBuilder public struct SceneBuilder {
    public static func buildBlock<S: Scene>(_ scene: S) -> S { scene }
}
public struct WindowGroup<Content: View>: Scene {
    public init(@ViewBuilder content: () -> Content) {}
    public var body: Never { fatalError() }
}
@MainActor public protocol App {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
    init()
}
extension App { public static func main() {} }
