import SwiftUI

/// Two screens: a voice that speaks, and a voice in place of one's own.
@main
struct VoxportExample: App {
    var body: some Scene {
        WindowGroup("voxport") {
            TabView {
                SpeakView().tabItem { Label("Speak", systemImage: "text.bubble") }
                LiveView().tabItem { Label("Live voice", systemImage: "waveform") }
            }
            .frame(minWidth: 520, minHeight: 400)
        }
    }
}
