// SPDX-License-Identifier: Apache-2.0
#include "backend/openvino/openvino_backend.h"

#include "backend/openvino/compile.h"
#include "backend/openvino/openvino_instance.h"
#include "backend/openvino/ov_types.h"

#include <openvino/core/version.hpp>
#include <openvino/runtime/core.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace takt {
namespace {

class OpenVinoModel final : public LoadedModel {
 public:
  // `first` proved that the model compiles.
  OpenVinoModel(ov_backend::CompilableModel model, ov_backend::CompiledVariants first,
                const LoadOptions& options)
      : model_(std::move(model)),
        rules_(std::make_shared<const BatchRules>(model_.rules())),
        options_(options),
        compiled_(std::make_shared<ov_backend::Compilations>(std::move(first))) {}

  [[nodiscard]] const Signature& signature() const noexcept override { return rules_->signature; }

  // OpenVINO does not tell what the intermediate tensors take.
  [[nodiscard]] ModelMemory memory() const noexcept override {
    if (ov_backend::shares_compilation(options_)) return {model_.weights_bytes(), 0};
    return {0, model_.weights_bytes()};
  }

  [[nodiscard]] Result<std::unique_ptr<Instance>> open_instance(
      const Partition& partition) const override {
    if (partition.device != "cpu") {
      return fail(ErrorKind::unavailable,
                  "the openvino backend runs on device 'cpu', not '" + partition.device + "'");
    }
    Result<ov_backend::CompiledVariants> variants = variants_for_one();
    if (!variants) {
      return std::unexpected(std::move(variants).error().within("opening an instance"));
    }
    return ov_backend::OpenVinoInstance::open(*std::move(variants), compiled_, rules_,
                                              cpus_of_instance(options_, partition.index),
                                              partition.index);
  }

 private:
  [[nodiscard]] Result<ov_backend::CompiledVariants> variants_for_one() const {
    if (ov_backend::shares_compilation(options_)) return compiled_->first();
    if (!first_taken_.exchange(true)) return compiled_->first();
    Result<ov_backend::CompiledVariants> further = model_.compile();
    if (further) compiled_->add(*further);
    return further;
  }

  // Constant.
  const ov_backend::CompilableModel model_;
  const std::shared_ptr<const BatchRules> rules_;
  const LoadOptions options_;

  const std::shared_ptr<ov_backend::Compilations> compiled_;  // thread-safe, shared with instances
  mutable std::atomic<bool> first_taken_{false};
};

class OpenVinoBackend final : public Backend {
 public:
  explicit OpenVinoBackend(std::shared_ptr<ov::Core> core) : core_(std::move(core)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "openvino"; }

  [[nodiscard]] std::string version() const override {
    return ov::get_openvino_version().buildNumber;
  }

  [[nodiscard]] Result<std::shared_ptr<const LoadedModel>> load(
      const ModelSource& source, const LoadOptions& options) override {
    using Loaded = std::shared_ptr<const LoadedModel>;
    Result<Loaded> loaded = ov_backend::guarded(ErrorKind::internal, [&]() -> Result<Loaded> {
      auto model = ov_backend::CompilableModel::read(core_, source, options);
      if (!model) return std::unexpected(std::move(model).error());
      Result<ov_backend::CompiledVariants> first = model->compile();
      if (!first) return std::unexpected(std::move(first).error());
      return std::make_shared<const OpenVinoModel>(*std::move(model), *std::move(first), options);
    });
    if (!loaded)
      return std::unexpected(std::move(loaded).error().within(source.onnx_path.string()));
    return loaded;
  }

 private:
  std::shared_ptr<ov::Core> core_;  // thread-safe
};

}  // namespace

Result<std::unique_ptr<Backend>> make_openvino_backend() {
  return ov_backend::guarded(ErrorKind::unavailable, []() -> Result<std::unique_ptr<Backend>> {
    return std::make_unique<OpenVinoBackend>(std::make_shared<ov::Core>());
  });
}

}  // namespace takt
