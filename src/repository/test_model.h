// SPDX-License-Identifier: Apache-2.0
// Small repositories for tests: ONNX files made through protobuf's classes, in a folder of their
// own. Thread-safe: one thread. Owns: the folder, which is deleted at the end.
#pragma once

#include <onnx/onnx.pb.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace takt::repository {

// A dimension: a number, or a name for a free one ("" is free without a name).
struct TestDim {
  std::int64_t value = -1;
  std::string param;
  TestDim(std::int64_t fixed) : value(fixed) {}          // NOLINT: reads as the dimension itself
  TestDim(const char* name) : value(-1), param(name) {}  // NOLINT
};

struct TestTensor {
  std::string name;
  std::vector<TestDim> dims;
  onnx::TensorProto::DataType type = onnx::TensorProto::FLOAT;
};

// A model of one Identity from the first input to the first output.
[[nodiscard]] onnx::ModelProto make_onnx(const std::vector<TestTensor>& inputs,
                                         const std::vector<TestTensor>& outputs);

class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // Writes a file below the folder, making its folders; returns its path.
  std::filesystem::path write(const std::filesystem::path& name, std::string_view bytes) const;
  std::filesystem::path write(const std::filesystem::path& name,
                              const google::protobuf::MessageLite& message) const;
  std::filesystem::path write_gzip(const std::filesystem::path& name,
                                   const google::protobuf::MessageLite& message) const;

 private:
  std::filesystem::path path_;
};

}  // namespace takt::repository
