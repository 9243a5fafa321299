import SwiftUI
import UniformTypeIdentifiers
import VoxportRuntime

struct LiveView: View {
    @State private var model = LiveModel()
    @State private var isChoosing = false

    var body: some View {
        VStack(alignment: .leading, spacing: 12) {
            Button("Choose a live voice…") { isChoosing = true }
            HStack {
                Button(model.isRunning ? "Stop" : "Start") {
                    Task { if model.isRunning { await model.stop() } else { await model.start() } }
                }
                .disabled(!model.isReady)
                Slider(value: $model.semitones, in: -12...12, step: 1)
                Text(String(format: "%+.0f semitones", model.semitones))
            }
            Toggle("My own voice", isOn: $model.isOwnVoice)
            Meter(name: "in", peak: model.report.inputPeak)
            Meter(name: "out", peak: model.report.outputPeak)
            Text(model.delay.map { String(format: "%.0f ms from mouth to ear", $0) } ?? "no delay yet")
            Text(losses)
            Text(model.report.failure ?? model.status)
        }
        .padding()
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.folder]) { result in
            guard case .success(let folder) = result else { return }
            Task { await model.open(folder) }
        }
    }

    /// What a chunk costs, and what was lost.
    private var losses: String {
        let report = model.report
        return String(
            format: "chunk %.1f ms (slowest %.1f), %d underruns, %d samples late", 1000 * report.meanCost,
            1000 * report.worstCost, report.counters.underruns, report.counters.lateSamples)
    }
}

/// A level from -60 dB to full scale.
struct Meter: View {
    let name: String
    let peak: Double

    var body: some View {
        HStack {
            Text(name)
            ProgressView(value: min(max(1 + log10(max(peak, 1e-6)) / 3, 0), 1))
        }
    }
}
