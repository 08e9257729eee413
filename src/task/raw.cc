// SPDX-License-Identifier: Apache-2.0
// The outputs as they are, for decisions made elsewhere.
#include "task/outputs.h"
#include "task/postprocessors.h"

namespace takt::postprocess {
namespace {

class Raw final : public Postprocessor {
 public:
  explicit Raw(const Signature& signature) : specs_(signature.outputs) {}

  Result<TaskResult> run(std::span<const TensorView> outputs, const Placement&) const override {
    if (outputs.size() != specs_.size()) {
      return fail(ErrorKind::corrupt_output, "the model gave " + std::to_string(outputs.size()) +
                                                 " outputs, expected " +
                                                 std::to_string(specs_.size()));
    }
    RawResult result;
    result.specs = specs_;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      result.specs[i].type = outputs[i].type;
      result.specs[i].shape = outputs[i].shape;
      result.tensors.emplace_back(outputs[i].bytes.begin(), outputs[i].bytes.end());
    }
    return TaskResult(std::move(result));
  }

 private:
  std::vector<TensorSpec> specs_;
};

}  // namespace

Made make_raw(const PostprocessSpec& spec, const Signature& signature) {
  if (auto checked = check_layout(spec, {}); !checked) return std::unexpected(checked.error());
  return std::make_unique<Raw>(signature);
}

}  // namespace takt::postprocess
