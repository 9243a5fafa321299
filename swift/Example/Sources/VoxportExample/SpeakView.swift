import SwiftUI
import UniformTypeIdentifiers

struct SpeakView: View {
    @State private var model = SpeakModel()
    @State private var isChoosing = false

    var body: some View {
        VStack(alignment: .leading, spacing: 12) {
            Button("Choose a voice…") { isChoosing = true }
            TextField(model.readsPhonemes ? "Phonemes" : "Text", text: $model.text)
            HStack {
                Button("Speak") { model.speak() }.disabled(!model.isReady || model.isSpeaking)
                Button("Stop") { model.stop() }.disabled(!model.isSpeaking)
                Text(String(format: "%.1f s", model.position))
            }
            Text(model.status)
        }
        .padding()
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.folder]) { result in
            guard case .success(let folder) = result else { return }
            Task { await model.open(folder) }
        }
    }
}
