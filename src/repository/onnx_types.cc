// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_types.h"

#include <onnx/onnx.pb.h>

namespace takt::repository {

std::optional<DataType> from_onnx_type(std::int32_t type) noexcept {
  switch (type) {
    case onnx::TensorProto::FLOAT:
      return DataType::fp32;
    case onnx::TensorProto::UINT8:
      return DataType::uint8;
    case onnx::TensorProto::INT8:
      return DataType::int8;
    case onnx::TensorProto::UINT16:
      return DataType::uint16;
    case onnx::TensorProto::INT16:
      return DataType::int16;
    case onnx::TensorProto::INT32:
      return DataType::int32;
    case onnx::TensorProto::INT64:
      return DataType::int64;
    case onnx::TensorProto::STRING:
      return DataType::bytes;
    case onnx::TensorProto::BOOL:
      return DataType::boolean;
    case onnx::TensorProto::FLOAT16:
      return DataType::fp16;
    case onnx::TensorProto::DOUBLE:
      return DataType::fp64;
    case onnx::TensorProto::UINT32:
      return DataType::uint32;
    case onnx::TensorProto::UINT64:
      return DataType::uint64;
    case onnx::TensorProto::BFLOAT16:
      return DataType::bf16;
    default:
      return std::nullopt;
  }
}

std::string onnx_type_name(std::int32_t type) {
  return onnx::TensorProto::DataType_IsValid(type)
             ? onnx::TensorProto::DataType_Name(static_cast<onnx::TensorProto::DataType>(type))
             : std::to_string(type);
}

}  // namespace takt::repository
