// SPDX-License-Identifier: Apache-2.0
// Einsum as products of two operands at a time, from left to right.
#include "graph/composition.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <string_view>
#include <utility>

namespace takt::graph {
namespace {

// A tensor and one letter for each of its dimensions.
struct Term {
  std::string letters;
  ValueId value;
};

struct Equation {
  std::vector<std::string> operands;
  std::string output;
};

bool holds(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

bool repeats(std::string_view letters) {
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (holds(letters.substr(i + 1), letters[i])) return true;
  }
  return false;
}

// Without an arrow: the letters that occur once, in their order in the alphabet.
std::string implied_output(const std::vector<std::string>& operands) {
  std::map<char, int> counts;
  for (const std::string& operand : operands) {
    for (const char letter : operand) ++counts[letter];
  }
  std::string output;
  for (const auto& [letter, count] : counts) {
    if (count == 1) output.push_back(letter);
  }
  return output;
}

Result<void> check_letters(std::string_view letters) {
  const auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  if (holds(letters, '.')) return NodeReader::refuse("an ellipsis in its equation isn't supported");
  if (!std::ranges::all_of(letters, is_letter)) {
    return NodeReader::refuse(fmt::format("'{}' in its equation; expected letters", letters));
  }
  if (!repeats(letters)) return {};
  return NodeReader::refuse(
      fmt::format("a letter occurs twice in '{}': diagonals aren't supported", letters));
}

Result<Equation> parse(std::string text) {
  std::erase(text, ' ');
  const std::size_t arrow = text.find("->");
  const std::string_view left = std::string_view(text).substr(0, arrow);
  Equation equation;
  for (std::size_t begin = 0; begin <= left.size();) {
    const std::size_t end = std::min(left.find(',', begin), left.size());
    equation.operands.emplace_back(left.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& operand : equation.operands) {
    if (auto checked = check_letters(operand); !checked) return std::unexpected(checked.error());
  }
  const bool says = arrow != std::string::npos;
  equation.output = says ? text.substr(arrow + 2) : implied_output(equation.operands);
  if (auto checked = check_letters(equation.output); !checked) {
    return std::unexpected(checked.error());
  }
  return equation;
}

// A letter has one size wherever it stands, and what the output names is there.
Result<void> check_sizes(const NodeReader& node, const Equation& equation) {
  std::map<char, std::int64_t> sizes;
  for (std::size_t i = 0; i < equation.operands.size(); ++i) {
    const std::string& letters = equation.operands[i];
    const Shape& shape = node.shape(i);
    if (letters.size() != shape.size()) {
      return NodeReader::refuse(fmt::format("'{}' for input {}", letters, takt::to_string(shape)));
    }
    for (std::size_t axis = 0; axis < letters.size(); ++axis) {
      const auto [known, is_new] = sizes.emplace(letters[axis], shape[axis]);
      if (is_new || known->second == shape[axis]) continue;
      return NodeReader::refuse(fmt::format("dimension '{}' has sizes {} and {}", letters[axis],
                                            known->second, shape[axis]));
    }
  }
  for (const char letter : equation.output) {
    if (!sizes.contains(letter)) {
      return NodeReader::refuse(fmt::format("'{}' is in no operand of its equation", letter));
    }
  }
  return {};
}

class Contraction {
 public:
  explicit Contraction(Composition& made) : made_(made) {}

  // Summed over what isn't in `kept`.
  Term sum_out(Term term, std::string_view kept) {
    std::vector<int> axes;
    std::string left;
    for (std::size_t i = 0; i < term.letters.size(); ++i) {
      if (holds(kept, term.letters[i]))
        left.push_back(term.letters[i]);
      else
        axes.push_back(static_cast<int>(i));
    }
    if (axes.empty()) return term;
    const ValueId sums = made_.reduce(ReduceKind::sum, term.value, axes);
    return {left, made_.squeeze(sums, axes)};
  }

  Term arrange(const Term& term, std::string_view letters) {
    std::vector<int> permutation;
    for (const char letter : letters) {
      permutation.push_back(static_cast<int>(term.letters.find(letter)));
    }
    return {std::string(letters), made_.transpose(term.value, permutation)};
  }

  // Of two, summed over the letters that aren't in `kept`.
  Term multiply(Term a, Term b, std::string_view kept) {
    a = sum_out(std::move(a), std::string(kept) + b.letters);
    b = sum_out(std::move(b), std::string(kept) + a.letters);
    remember_sizes(a);
    remember_sizes(b);
    std::string batch, summed, rows, columns;
    for (const char letter : a.letters) {
      const bool both = holds(b.letters, letter);
      (!both ? rows : holds(kept, letter) ? batch : summed).push_back(letter);
    }
    for (const char letter : b.letters) {
      if (!holds(a.letters, letter)) columns.push_back(letter);
    }
    const std::string letters = batch + rows + columns;
    const ValueId value = summed.empty() ? outer(a, b, batch, rows, columns)
                                         : matmul(a, b, {batch, summed, rows, columns});
    return {letters, made_.reshape(value, shape_of(letters))};
  }

 private:
  struct Parts {
    std::string batch, summed, rows, columns;
  };

  void remember_sizes(const Term& term) {
    if (made_.failed()) return;
    for (std::size_t i = 0; i < term.letters.size(); ++i) {
      sizes_[term.letters[i]] = made_.shape(term.value)[i];
    }
  }

  Shape shape_of(std::string_view letters) {
    Shape shape;
    for (const char letter : letters) shape.push_back(sizes_[letter]);
    return shape;
  }

  // Nothing is summed: element by element, with dimensions of size 1 where the other has its own.
  ValueId outer(const Term& a, const Term& b, const std::string& batch, const std::string& rows,
                const std::string& columns) {
    Shape left = shape_of(batch + rows);
    left.resize(left.size() + columns.size(), 1);
    Shape right = shape_of(batch);
    right.resize(right.size() + rows.size(), 1);
    for (const std::int64_t size : shape_of(columns)) right.push_back(size);
    return made_.binary(BinaryKind::mul, made_.reshape(arrange(a, batch + rows).value, left),
                        made_.reshape(arrange(b, batch + columns).value, right));
  }

  // As [batch, rows, summed] or with its last two groups swapped, where it lies so already.
  std::pair<ValueId, bool> matrix(const Term& term, const std::string& batch,
                                  const std::string& rows, const std::string& columns) {
    const bool swapped =
        term.letters == batch + columns + rows && !rows.empty() && !columns.empty();
    const std::string& first = swapped ? columns : rows;
    const std::string& second = swapped ? rows : columns;
    const ValueId arranged = arrange(term, batch + first + second).value;
    const Shape shape{product(shape_of(batch)), product(shape_of(first)),
                      product(shape_of(second))};
    return {made_.reshape(arranged, shape), swapped};
  }

  ValueId matmul(const Term& a, const Term& b, const Parts& parts) {
    const auto [left, left_swapped] = matrix(a, parts.batch, parts.rows, parts.summed);
    const auto [right, right_swapped] = matrix(b, parts.batch, parts.summed, parts.columns);
    return made_.add(MatMul{left_swapped, right_swapped}, {left, right});
  }

  Composition& made_;
  std::map<char, std::int64_t> sizes_;
};

}  // namespace

Values translate_einsum(const NodeReader& node) {
  const Result<Equation> equation = parse(node.text("equation", ""));
  if (!equation) return std::unexpected(equation.error());
  const std::size_t count = equation->operands.size();
  if (auto checked = node.check_inputs(count, count); !checked) {
    return std::unexpected(checked.error());
  }
  if (auto checked = check_sizes(node, *equation); !checked) {
    return std::unexpected(checked.error());
  }
  Composition made(node.builder());
  Contraction contraction(made);
  Term result{equation->operands[0], node.input(0)};
  for (std::size_t i = 1; i < count; ++i) {
    std::string kept = equation->output;
    for (std::size_t later = i + 1; later < count; ++later) kept += equation->operands[later];
    result = contraction.multiply(std::move(result), {equation->operands[i], node.input(i)}, kept);
  }
  result = contraction.sum_out(std::move(result), equation->output);
  return made.finish({contraction.arrange(result, equation->output).value});
}

}  // namespace takt::graph
