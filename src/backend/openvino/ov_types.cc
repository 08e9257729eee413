// SPDX-License-Identifier: Apache-2.0
#include "backend/openvino/ov_types.h"

#include <openvino/core/except.hpp>

#include <array>
#include <new>
#include <sstream>

namespace takt::ov_backend {
namespace {

struct TypePair {
  DataType ours;
  ov::element::Type theirs;
};

const std::array<TypePair, 13>& type_pairs() {
  static const std::array<TypePair, 13> pairs{{
      {DataType::boolean, ov::element::boolean},
      {DataType::uint8, ov::element::u8},
      {DataType::uint16, ov::element::u16},
      {DataType::uint32, ov::element::u32},
      {DataType::uint64, ov::element::u64},
      {DataType::int8, ov::element::i8},
      {DataType::int16, ov::element::i16},
      {DataType::int32, ov::element::i32},
      {DataType::int64, ov::element::i64},
      {DataType::fp16, ov::element::f16},
      {DataType::bf16, ov::element::bf16},
      {DataType::fp32, ov::element::f32},
      {DataType::fp64, ov::element::f64},
  }};
  return pairs;
}

bool names_a_source_file(std::string_view line) {
  return line.starts_with("Exception from ") ||
         (line.starts_with("Check '") && line.find("' failed at ") != std::string_view::npos) ||
         line.starts_with("FrontEnd API failed");
}

}  // namespace

Result<DataType> from_ov(const ov::element::Type& type) {
  for (const TypePair& pair : type_pairs()) {
    if (pair.theirs == type) return pair.ours;
  }
  return fail(ErrorKind::invalid_input, "element type " + type.get_type_name() +
                                            " can't be passed; expected a number or boolean type");
}

ov::element::Type to_ov(DataType type) {
  for (const TypePair& pair : type_pairs()) {
    if (pair.ours == type) return pair.theirs;
  }
  return ov::element::dynamic;
}

Shape from_ov(const ov::PartialShape& shape) {
  Shape made;
  for (const ov::Dimension& dim : shape) {
    made.push_back(dim.is_static() ? dim.get_length() : -1);
  }
  return made;
}

std::string plain_text(std::string_view what) {
  constexpr std::size_t kLengthMax = 600;  // OpenVINO may add a whole graph
  std::istringstream lines{std::string(what)};
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || names_a_source_file(line)) continue;
    if (!text.empty()) text += "; ";
    text += line;
    if (text.size() > kLengthMax) {
      text.resize(kLengthMax);
      return text + "...";
    }
  }
  return text.empty() ? std::string(what.substr(0, kLengthMax)) : text;
}

Error current_exception_error(ErrorKind otherwise) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return {ErrorKind::out_of_memory, "out of memory; use smaller batches or fewer instances"};
  } catch (const std::exception& error) {
    // oneDNN reports a failed allocation only in its text.
    const std::string text = plain_text(error.what());
    const bool memory = text.find("bad_alloc") != std::string::npos ||
                        text.find("out of memory") != std::string::npos ||
                        text.find("Failed to allocate") != std::string::npos;
    return {memory ? ErrorKind::out_of_memory : otherwise, text};
  } catch (...) {
    return {otherwise, "an exception that is no std::exception"};
  }
}

}  // namespace takt::ov_backend
