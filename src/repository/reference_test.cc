// SPDX-License-Identifier: Apache-2.0
#include "repository/reference.h"

#include "repository/test_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::repository {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

onnx::TensorProto tensor(const std::string& name, const std::vector<std::int64_t>& dims,
                         const std::vector<float>& values) {
  onnx::TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t dim : dims) proto.add_dims(dim);
  proto.set_raw_data(values.data(), values.size() * sizeof(float));
  return proto;
}

class ReferenceFolder : public ::testing::Test {
 protected:
  // Two inputs of two numbers, one output of three, batches of up to four.
  Signature signature_{
      {{"a", DataType::fp32, {2}}, {"b", DataType::fp32, {2}}}, {{"y", DataType::fp32, {3}}}, 4};
  TestFolder folder_;

  void write_case(const std::string& name) {
    folder_.write(name + "/input_0.pb", tensor("a", {1, 2}, {1, 2}));
    folder_.write(name + "/input_1.pb", tensor("b", {1, 2}, {3, 4}));
    folder_.write(name + "/output_0.pb", tensor("y", {1, 3}, {5, 6, 7}));
  }
  Result<Reference> read(const Limits& limits = {}) {
    return read_reference(folder_.path(), signature_, limits);
  }
  std::string error_of(const Limits& limits = {}) {
    const Result<Reference> reference = read(limits);
    if (reference) return "no error";
    EXPECT_EQ(reference.error().kind, ErrorKind::invalid_input);
    return reference.error().message;
  }
};

TEST_F(ReferenceFolder, CasesAreReadInTheOrderOfTheirNames) {
  write_case("two");
  write_case("one");
  folder_.write("tolerance.json", R"({"absolute": 0.5, "relative": 0})");
  const Result<Reference> reference = read();
  ASSERT_TRUE(reference.has_value()) << reference.error().message;
  ASSERT_EQ(reference->cases.size(), 2U);
  EXPECT_EQ(reference->cases[0].name, "one");
  EXPECT_EQ(reference->cases[0].rows, 1);
  EXPECT_THAT(reference->cases[0].inputs[1].view().as<float>(), ElementsAre(3, 4));
  EXPECT_THAT(reference->cases[0].outputs[0].view().as<float>(), ElementsAre(5, 6, 7));
  EXPECT_EQ(reference->cases[0].outputs[0].shape, (Shape{1, 3}));
  EXPECT_EQ(reference->tolerance.absolute, 0.5);
  EXPECT_EQ(reference->tolerance.relative, 0);
}

TEST_F(ReferenceFolder, AMissingFolderMeansNoCases) {
  const Result<Reference> reference = read_reference(folder_.path() / "none", signature_);
  ASSERT_TRUE(reference.has_value());
  EXPECT_TRUE(reference->cases.empty());
}

TEST_F(ReferenceFolder, GzippedTensorsAreReadAsPlainOnes) {
  write_case("one");
  std::filesystem::remove(folder_.path() / "one/output_0.pb");
  folder_.write_gzip("one/output_0.pb.gz", tensor("y", {1, 3}, {5, 6, 7}));
  const Result<Reference> reference = read();
  ASSERT_TRUE(reference.has_value()) << reference.error().message;
  EXPECT_THAT(reference->cases[0].outputs[0].view().as<float>(), ElementsAre(5, 6, 7));
}

TEST_F(ReferenceFolder, TensorsAreMatchedByNameWhateverTheirNumber) {
  write_case("one");
  folder_.write("one/input_0.pb", tensor("b", {1, 2}, {3, 4}));
  folder_.write("one/input_1.pb", tensor("a", {1, 2}, {1, 2}));
  const Result<Reference> reference = read();
  ASSERT_TRUE(reference.has_value()) << reference.error().message;
  EXPECT_THAT(reference->cases[0].inputs[0].view().as<float>(), ElementsAre(1, 2));
}

TEST_F(ReferenceFolder, TypedFieldsAreReadAsRawData) {
  signature_ = {{{"x", DataType::uint8, {2}}}, {{"y", DataType::int64, {1}}}, 0};
  onnx::TensorProto input;
  input.set_data_type(onnx::TensorProto::UINT8);
  input.add_dims(2);
  input.add_int32_data(7);
  input.add_int32_data(255);
  onnx::TensorProto output;
  output.set_data_type(onnx::TensorProto::INT64);
  output.add_dims(1);
  output.add_int64_data(-5);
  folder_.write("one/input_0.pb", input);
  folder_.write("one/output_0.pb", output);
  const Result<Reference> reference = read();
  ASSERT_TRUE(reference.has_value()) << reference.error().message;
  EXPECT_THAT(reference->cases[0].inputs[0].view().as<std::uint8_t>(), ElementsAre(7, 255));
  EXPECT_THAT(reference->cases[0].outputs[0].view().as<std::int64_t>(), ElementsAre(-5));
}

TEST_F(ReferenceFolder, StringsAreReadInTheFormThatTensorsOfThemHave) {
  signature_ = {{{"x", DataType::bytes, {2}}}, {{"y", DataType::bytes, {1}}}, 0};
  onnx::TensorProto input;
  input.set_data_type(onnx::TensorProto::STRING);
  input.add_dims(2);
  input.add_string_data("ab");
  input.add_string_data("");
  onnx::TensorProto output;
  output.set_data_type(onnx::TensorProto::STRING);
  output.add_dims(1);
  output.add_string_data("c");
  folder_.write("one/input_0.pb", input);
  folder_.write("one/output_0.pb", output);
  const Result<Reference> reference = read();
  ASSERT_TRUE(reference.has_value()) << reference.error().message;
  EXPECT_THAT(reference->cases[0].inputs[0].view().as<char>(),
              ElementsAre(2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0));
  EXPECT_THAT(reference->cases[0].outputs[0].view().as<char>(), ElementsAre(1, 0, 0, 0, 'c'));
  output.add_string_data("d");
  folder_.write("one/output_0.pb", output);
  EXPECT_THAT(error_of(), AllOf(HasSubstr("output_0.pb"), HasSubstr("expected 1 strings, got 2")));
}

TEST_F(ReferenceFolder, AnInputMayBeStoredAsBytesAnOutputMayNot) {
  write_case("one");
  onnx::TensorProto bytes;
  bytes.set_data_type(onnx::TensorProto::UINT8);
  bytes.add_dims(1);
  bytes.add_dims(2);
  bytes.set_raw_data("\x07\xff");
  folder_.write("one/input_0.pb", bytes);
  const Result<Reference> reference = read();
  ASSERT_TRUE(reference.has_value()) << reference.error().message;
  EXPECT_EQ(reference->cases[0].inputs[0].type, DataType::uint8);
  bytes.set_dims(1, 3);
  bytes.set_raw_data("\x07\xff\x01");
  folder_.write("one/output_0.pb", bytes);
  EXPECT_THAT(error_of(), AllOf(HasSubstr("output_0.pb"), HasSubstr("UINT8[1,3]")));
}

TEST_F(ReferenceFolder, AMissingOrSurplusTensorIsNamed) {
  write_case("one");
  std::filesystem::remove(folder_.path() / "one/input_1.pb");
  EXPECT_THAT(error_of(), AllOf(HasSubstr("input_1.pb"), HasSubstr("2 inputs")));
  write_case("one");
  folder_.write("one/output_1.pb", tensor("z", {1}, {1}));
  EXPECT_THAT(error_of(), AllOf(HasSubstr("output_1.pb"), HasSubstr("only 1 outputs")));
}

TEST_F(ReferenceFolder, AWrongNameTypeOrShapeIsRefused) {
  write_case("one");
  folder_.write("one/input_0.pb", tensor("q", {1, 2}, {1, 2}));
  EXPECT_THAT(error_of(), AllOf(HasSubstr("input_0.pb"), HasSubstr("'q'")));
  folder_.write("one/input_0.pb", tensor("a", {1, 3}, {1, 2, 3}));
  EXPECT_THAT(error_of(), AllOf(HasSubstr("FP32[1,3]"), HasSubstr("FP32[-1,2]")));
  folder_.write("one/input_0.pb", tensor("a", {2, 2}, {1, 2, 3, 4}));
  EXPECT_THAT(error_of(), AllOf(HasSubstr("input_1.pb"), HasSubstr("FP32[2,2]")))
      << "every tensor of a case has the same rows";
  folder_.write("one/input_0.pb", tensor("a", {5, 2}, std::vector<float>(10)));
  folder_.write("one/input_1.pb", tensor("b", {5, 2}, std::vector<float>(10)));
  EXPECT_THAT(error_of(), HasSubstr("1 to 4"));
}

TEST_F(ReferenceFolder, DamagedTensorsAreNamed) {
  write_case("one");
  const std::string whole = tensor("a", {1, 2}, {1, 2}).SerializeAsString();
  folder_.write("one/input_0.pb", std::string_view(whole).substr(0, whole.size() - 2));
  EXPECT_THAT(error_of(), AllOf(HasSubstr("input_0.pb"), HasSubstr("damaged or truncated")));
  folder_.write("one/input_0.pb", tensor("a", {1, 2}, {1, 2, 3}));
  EXPECT_THAT(error_of(), HasSubstr("12 bytes of elements, but FP32[1,2] has 8"));
  std::filesystem::remove(folder_.path() / "one/input_0.pb");
  folder_.write("one/input_0.pb.gz", whole);
  EXPECT_THAT(error_of(), HasSubstr("expected a gzipped ONNX TensorProto"));
}

TEST_F(ReferenceFolder, AGzipBombStopsAtTheLimit) {
  write_case("one");
  std::filesystem::remove(folder_.path() / "one/output_0.pb");
  folder_.write_gzip("one/output_0.pb.gz", tensor("y", {1, 1 << 20}, std::vector<float>(1 << 20)));
  Limits limits;
  limits.reference_bytes_max = 1 << 20;
  EXPECT_THAT(error_of(limits), HasSubstr("more than"));
}

TEST_F(ReferenceFolder, ABadToleranceIsRefused) {
  write_case("one");
  for (const char* text : {"", "[1]", R"({"absolut": 1})", R"({"absolute": -1})",
                           R"({"relative": "1"})", R"({"absolute": 1e999})"}) {
    folder_.write("tolerance.json", std::string_view(text));
    EXPECT_THAT(error_of(), HasSubstr("tolerance.json")) << text;
  }
}

}  // namespace
}  // namespace takt::repository
