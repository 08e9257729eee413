// SPDX-License-Identifier: Apache-2.0
#include "repository/test_model.h"

#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <stdlib.h>

#include <fstream>
#include <stdexcept>

namespace takt::repository {
namespace {

void fill(onnx::ValueInfoProto& value, const TestTensor& tensor) {
  value.set_name(tensor.name);
  onnx::TypeProto::Tensor& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(tensor.type);
  type.mutable_shape();
  for (const TestDim& dim : tensor.dims) {
    onnx::TensorShapeProto::Dimension& target = *type.mutable_shape()->add_dim();
    if (dim.value >= 0) target.set_dim_value(dim.value);
    if (!dim.param.empty()) target.set_dim_param(dim.param);
  }
}

}  // namespace

onnx::ModelProto make_onnx(const std::vector<TestTensor>& inputs,
                           const std::vector<TestTensor>& outputs) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.set_producer_name("takt-test");
  model.set_producer_version("1");
  model.add_opset_import()->set_version(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name("test");
  for (const TestTensor& input : inputs) fill(*graph.add_input(), input);
  for (const TestTensor& output : outputs) fill(*graph.add_output(), output);
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type("Identity");
  node.add_input(inputs.empty() ? "" : inputs.front().name);
  node.add_output(outputs.empty() ? "" : outputs.front().name);
  return model;
}

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "takt-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder: " + name);
  path_ = name;
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TestFolder::write(const std::filesystem::path& name,
                                        std::string_view bytes) const {
  const std::filesystem::path file = path_ / name;
  std::filesystem::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!stream.flush()) throw std::runtime_error("can't write " + file.string());
  return file;
}

std::filesystem::path TestFolder::write(const std::filesystem::path& name,
                                        const google::protobuf::MessageLite& message) const {
  return write(name, message.SerializeAsString());
}

std::filesystem::path TestFolder::write_gzip(const std::filesystem::path& name,
                                             const google::protobuf::MessageLite& message) const {
  std::string packed;
  {
    google::protobuf::io::StringOutputStream bytes(&packed);
    google::protobuf::io::GzipOutputStream gzip(&bytes);
    message.SerializeToZeroCopyStream(&gzip);
  }
  return write(name, packed);
}

}  // namespace takt::repository
