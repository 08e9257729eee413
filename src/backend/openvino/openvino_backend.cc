// SPDX-License-Identifier: Apache-2.0
#include "backend/openvino/openvino_backend.h"

#include "backend/openvino/compile.h"
#include "backend/openvino/openvino_instance.h"
#include "backend/openvino/ov_types.h"

#include <openvino/core/version.hpp>
#include <openvino/runtime/core.hpp>

#include <string>
#include <utility>

namespace takt {
namespace {

class OpenVinoModel final : public LoadedModel {
 public:
  OpenVinoModel(ov_backend::CompiledVariants variants, std::vector<int> cpus)
      : variants_(std::make_shared<const ov_backend::CompiledVariants>(std::move(variants))),
        cpus_(std::move(cpus)) {}

  [[nodiscard]] const Signature& signature() const noexcept override {
    return variants_->rules.signature;
  }

  // OpenVINO does not tell what the intermediate tensors of a stream take.
  [[nodiscard]] ModelMemory memory() const noexcept override {
    return {variants_->weights_bytes, 0};
  }

  [[nodiscard]] Result<std::unique_ptr<Instance>> open_instance(
      const Partition& partition) const override {
    if (partition.device != "cpu") {
      return fail(ErrorKind::unavailable,
                  "the openvino backend runs on device 'cpu', not '" + partition.device + "'");
    }
    return ov_backend::OpenVinoInstance::open(variants_, cpus_, partition.index);
  }

 private:
  // Constant; instances share the variants.
  std::shared_ptr<const ov_backend::CompiledVariants> variants_;
  std::vector<int> cpus_;
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
    Result<ov_backend::CompiledVariants> variants =
        ov_backend::guarded(ErrorKind::internal, [&]() -> Result<ov_backend::CompiledVariants> {
          return ov_backend::compile(core_, source, options);
        });
    if (!variants) {
      return std::unexpected(std::move(variants).error().within(source.onnx_path.string()));
    }
    return std::make_shared<const OpenVinoModel>(*std::move(variants), options.cpus);
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
