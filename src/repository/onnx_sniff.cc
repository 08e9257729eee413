// SPDX-License-Identifier: Apache-2.0
#include "repository/onnx_sniff.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <optional>

namespace takt::repository {
namespace {

struct Magic {
  std::string_view bytes;
  std::string_view format;
};

constexpr std::array<Magic, 12> kMagics{{
    {"version https://git-lfs", "a Git LFS pointer; fetch the file itself with: git lfs pull"},
    {"PK\x03\x04", "a zip archive, as PyTorch and Keras save; export the model to ONNX"},
    {"\x80\x02", "a Python pickle, as PyTorch saves; export the model to ONNX"},
    {"\x89HDF", "an HDF5 file, as Keras saves; export the model to ONNX"},
    {"\x1F\x8B", "gzip data; unpack it first"},
    {"ftrt", "a TensorRT engine; put the ONNX file that it was built from here"},
    {"\x89PNG", "a PNG image"},
    {"<?xml", "an XML file, such as OpenVINO's IR; put the ONNX file here"},
    {"<!DOCTYPE", "a web page; the download went wrong"},
    {"<html", "a web page; the download went wrong"},
    {"{", "JSON text"},
    {"ONNXRUNTIME", "ONNX Runtime's own format; put the ONNX file that it came from here"},
}};

// Reads a protobuf varint; nullopt at the end of the file or after ten bytes.
std::optional<std::uint64_t> read_varint(std::istream& stream) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    const int byte = stream.get();
    if (byte == std::istream::traits_type::eof()) return std::nullopt;
    if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

std::string ends_inside(std::uint64_t position, std::uint64_t wanted, std::uint64_t size) {
  return "truncated: a part that begins at byte " + std::to_string(position) + " has " +
         std::to_string(wanted) + " bytes, but the file ends after " + std::to_string(size) +
         "; copy or export it again";
}

}  // namespace

std::string foreign_format(std::string_view head) {
  for (const Magic& magic : kMagics) {
    if (head.starts_with(magic.bytes)) return std::string(magic.format);
  }
  // A ModelProto begins with ir_version (08) in every writer seen; a lone text has no low bytes.
  const bool text = std::ranges::all_of(head, [](unsigned char c) {
    return (c >= 0x20 && c < 0x7F) || c == '\n' || c == '\r' || c == '\t';
  });
  if (text) return "text";
  if (std::ranges::all_of(head, [](char c) { return c == 0; })) return "zero bytes";
  return {};
}

std::string explain_damage(const std::filesystem::path& file, std::uint64_t size) {
  std::ifstream stream(file, std::ios::binary);
  std::uint64_t position = 0;
  while (stream && position < size) {
    const std::optional<std::uint64_t> tag = read_varint(stream);
    if (!tag) return ends_inside(position, 2, size);
    const unsigned wire_type = *tag & 7U;
    std::uint64_t length = wire_type == 1 ? 8 : 4;
    if (wire_type == 0) {
      if (!read_varint(stream)) return ends_inside(position, 2, size);
      length = 0;
    } else if (wire_type == 2) {
      const std::optional<std::uint64_t> stated = read_varint(stream);
      if (!stated) return ends_inside(position, 2, size);
      length = *stated;
    } else if (wire_type != 1 && wire_type != 5) {
      break;
    }
    const auto content = static_cast<std::uint64_t>(stream.tellg());
    if (content > size || length > size - content) return ends_inside(content, length, size);
    position = content + length;
    stream.seekg(static_cast<std::streamoff>(position));
  }
  return "damaged, or no ONNX model: its content can't be read from byte " +
         std::to_string(std::min(position, size)) + " on; export it again";
}

}  // namespace takt::repository
