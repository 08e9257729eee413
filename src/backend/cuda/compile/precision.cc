// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/precision.h"

#include <array>

namespace takt::cuda {
namespace {

struct PrecisionName {
  Precision precision;
  std::string_view name;
};
constexpr std::array kNames{
    PrecisionName{Precision::fp32, "fp32"}, PrecisionName{Precision::tf32, "tf32"},
    PrecisionName{Precision::fp16, "fp16"}, PrecisionName{Precision::bf16, "bf16"}};

}  // namespace

std::string_view to_string(Precision precision) noexcept {
  for (const PrecisionName& entry : kNames) {
    if (entry.precision == precision) return entry.name;
  }
  return "";
}

DataType product_type(Precision precision) noexcept {
  if (precision == Precision::fp16) return DataType::fp16;
  if (precision == Precision::bf16) return DataType::bf16;
  return DataType::fp32;
}

std::optional<Precision> parse_precision(std::string_view text) noexcept {
  for (const PrecisionName& entry : kNames) {
    if (entry.name == text) return entry.precision;
  }
  return {};
}

}  // namespace takt::cuda
