// SPDX-License-Identifier: Apache-2.0
#include "backend/simulated/simulated_backend.h"

#include "backend/simulated/compute.h"
#include "backend/simulated/fault_plan.h"
#include "backend/simulated/simulated_instance.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

namespace takt {
namespace {

using simulated::SharedModel;

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

class SimulatedModel final : public LoadedModel {
 public:
  SimulatedModel(std::shared_ptr<SharedModel> model, const LoadOptions& options)
      : model_(std::move(model)), options_(options) {}

  [[nodiscard]] const Signature& signature() const noexcept override {
    return model_->rules.signature;
  }
  // No weights; an instance stages one row of its largest image input.
  [[nodiscard]] ModelMemory memory() const noexcept override {
    std::size_t row_bytes = 0;
    for (const auto& image : model_->rules.images) {
      row_bytes = std::max(row_bytes, image ? image->row_bytes : 0);
    }
    return {0, row_bytes};
  }
  [[nodiscard]] Result<std::unique_ptr<Instance>> open_instance(
      const Partition& partition) const override {
    return simulated::SimulatedInstance::open(model_, cpus_of_instance(options_, partition.index),
                                              partition.index);
  }
  [[nodiscard]] std::vector<std::string> notes() const override {
    const std::string& note = model_->plan.parameters().note;
    return note.empty() ? std::vector<std::string>{} : std::vector{note};
  }

 private:
  std::shared_ptr<SharedModel> model_;
  LoadOptions options_;
};

Result<Signature> signature_of(const simulated::Parameters& parameters,
                               const LoadOptions& options) {
  Signature signature{parameters.inputs, parameters.outputs, options.batch_max};
  if (signature.inputs.empty()) signature.inputs = options.input_specs;
  if (signature.outputs.empty()) signature.outputs = options.output_specs;
  if (signature.inputs.empty() || signature.outputs.empty()) {
    return fail(ErrorKind::invalid_input,
                "the simulated backend needs inputs and outputs: a model file with its shapes, or "
                "the parameters simulated.input.NAME and simulated.output.NAME");
  }
  if (parameters.compute) return signature;
  // A real model may leave sizes open; a simulated one answers with the smallest.
  for (TensorSpec& output : signature.outputs) {
    std::ranges::replace(output.shape, -1, 1);
  }
  return signature;
}

// As a backend does that compiles for long.
void pass_time(Duration time, const LoadProgress& progress) {
  constexpr int kParts = 10;
  if (time == Duration{}) return;
  for (int done = 0; done < kParts; ++done) {
    if (progress) progress("passing time", done, kParts);
    std::this_thread::sleep_for(time / kParts);
  }
}

class SimulatedBackend final : public Backend {
 public:
  explicit SimulatedBackend(const Clock& clock) : clock_(clock) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "simulated"; }
  [[nodiscard]] std::string version() const override { return "1"; }

  [[nodiscard]] Result<std::shared_ptr<const LoadedModel>> load(
      const ModelSource& /*source*/, const LoadOptions& options) override {
    Result<std::shared_ptr<SharedModel>> model = make_model(options);
    if (!model) return std::unexpected(std::move(model).error());
    return std::make_shared<const SimulatedModel>(*std::move(model), options);
  }

 private:
  Result<std::shared_ptr<SharedModel>> make_model(const LoadOptions& options) const {
    Result<simulated::Parameters> parameters = simulated::parse_parameters(options.parameters);
    if (!parameters) return std::unexpected(std::move(parameters).error());
    Result<Signature> signature = signature_of(*parameters, options);
    if (!signature) return std::unexpected(std::move(signature).error());
    Result<BatchRules> rules = make_batch_rules(*std::move(signature), options.inputs);
    if (!rules) return std::unexpected(std::move(rules).error());
    if (parameters->compute) {
      Result<void> fits = simulated::check_compute(*parameters->compute, *rules);
      if (!fits) return std::unexpected(std::move(fits).error());
    }
    pass_time(parameters->load, options.progress);
    return std::make_shared<SharedModel>(*std::move(rules), *std::move(parameters), options.spin,
                                         clock_);
  }

  const Clock& clock_;
};

}  // namespace

std::unique_ptr<Backend> make_simulated_backend() {
  return make_simulated_backend(system_clock());
}

std::unique_ptr<Backend> make_simulated_backend(const Clock& clock) {
  return std::make_unique<SimulatedBackend>(clock);
}

}  // namespace takt
