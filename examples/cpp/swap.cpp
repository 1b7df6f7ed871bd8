// sdkit-swap a.h5 b.h5 swapped.h5 --bundle B: what `sdkit swap a.h5 b.h5 -o swapped.h5` writes.

#include <algorithm>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "hdf5_files.hpp"
#include "programs.hpp"

namespace {

using sdkit::Codes;
using sdkit::Shape;
using sdkit::Tensor;
using Lengths = std::optional<std::vector<std::int64_t>>;

const char* const usage =
    "usage: sdkit-swap A B OUTPUT --bundle BUNDLE [--count N] [--batch-size N] [--threads N] [--force]\n"
    "Joins the static code of each sequence of A with the dynamic codes of B's, and the other way round.";

struct Arguments {
    std::vector<std::string> files;
    std::string bundle;
    std::optional<std::int64_t> count;
    sdkit::Options options;
    bool force = false;
};

std::int64_t at_least_one(const std::string& option, const std::string& value) {
    try {
        std::size_t used = 0;
        const std::int64_t number = std::stoll(value, &used);
        if (used == value.size() && number >= 1) return number;
    } catch (const std::logic_error&) {  // not a number, or one of too many digits
    }
    throw sdkit::ConfigError(option + " " + value + ": it must be a whole number of at least 1");
}

Arguments parse(const std::vector<std::string>& words) {
    Arguments arguments;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const auto value = [&] {
            if (i + 1 == words.size()) throw sdkit::ConfigError(word + " needs a value\n" + usage);
            return words[++i];
        };
        if (word == "--force") {
            arguments.force = true;
        } else if (word == "--bundle") {
            arguments.bundle = value();
        } else if (word == "--count") {
            arguments.count = at_least_one(word, value());
        } else if (word == "--batch-size") {
            arguments.options.batch_size = at_least_one(word, value());
        } else if (word == "--threads") {
            arguments.options.threads = static_cast<int>(std::min<std::int64_t>(at_least_one(word, value()), 1024));
        } else if (word.rfind("--", 0) == 0) {
            throw sdkit::ConfigError("unknown option " + word + "\n" + usage);
        } else {
            arguments.files.push_back(word);
        }
    }
    if (arguments.files.size() != 3) throw sdkit::ConfigError(std::string("expected A, B and OUTPUT\n") + usage);
    return arguments;
}

SequenceFile open_file(const std::string& path, const sdkit::Element& element) {
    SequenceFile file(path);
    const sdkit::Element& found = file.element();
    if (found.describe() != element.describe()) {
        throw sdkit::DataError(path + " holds " + found.describe() + "; the model takes " + element.describe());
    }
    return file;
}

std::int64_t pair_count(const SequenceFile& a, const SequenceFile& b, const std::optional<std::int64_t>& asked) {
    const std::int64_t fewer = std::min(a.count(), b.count());
    const std::string pa = a.path().string(), pb = b.path().string();
    if (!asked && a.count() != b.count()) {
        throw sdkit::DataError("swap pairs sequences one to one; " + pa + " has " + std::to_string(a.count()) + ", " +
                               pb + " has " + std::to_string(b.count()) + "; --count " + std::to_string(fewer) +
                               " takes the first of each");
    }
    if (asked && *asked > fewer) {
        throw sdkit::ConfigError("--count " + std::to_string(*asked) + ": " + pa + " and " + pb + " holds " +
                                 std::to_string(fewer) + " to take from");
    }
    return asked.value_or(fewer);
}

// The rows of a (B, T, ...) tensor in `rows`, cut to their first `steps` elements.
template <typename T>
std::vector<T> cut(const std::vector<T>& values, const Shape& shape, const std::vector<std::size_t>& rows,
                   std::int64_t steps) {
    const auto sequence = static_cast<std::ptrdiff_t>(values.size()) / shape[0];
    std::vector<T> taken;
    for (const std::size_t row : rows) {
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row) * sequence;
        taken.insert(taken.end(), begin, begin + sequence / shape[1] * steps);
    }
    return taken;
}

Tensor cut(const Tensor& x, const std::vector<std::size_t>& rows, std::int64_t steps) {
    Shape shape = x.shape();
    shape[0] = static_cast<std::int64_t>(rows.size());
    shape[1] = steps;
    if (x.dtype() == sdkit::DType::uint8) return {shape, cut(x.bytes(), x.shape(), rows, steps)};
    return {shape, cut(x.floats(), x.shape(), rows, steps)};
}

// Copies each row of `from` to the beginning of the row `rows[i]` of `to`.
void scatter(const std::vector<float>& from, const std::vector<std::size_t>& rows, std::vector<float>& to,
             std::size_t width) {
    const std::size_t given = from.size() / rows.size();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(i * given), given,
                    to.begin() + static_cast<std::ptrdiff_t>(rows[i] * width));
    }
}

// Sequences of different lengths are encoded at their own length, never padded; codes beyond it are 0.
Codes encode_rows(const sdkit::Runtime& rt, const SequenceFile& file, std::int64_t first, std::int64_t last) {
    const Tensor x = file.read(first, last);
    if (!file.lengths()) return rt.encode(x);
    std::map<std::int64_t, std::vector<std::size_t>> groups;
    for (std::int64_t row = first; row < last; ++row) {
        groups[(*file.lengths())[static_cast<std::size_t>(row)]].push_back(static_cast<std::size_t>(row - first));
    }
    const std::int64_t s = rt.manifest().widths.static_size, d = rt.manifest().widths.dynamic_size;
    const auto batch = static_cast<std::size_t>(last - first), width = static_cast<std::size_t>(x.axis(1) * d);
    std::vector<float> static_(batch * static_cast<std::size_t>(s)), dynamic(batch * width);
    for (const auto& [steps, rows] : groups) {
        const Codes codes = rt.encode(cut(x, rows, steps));
        scatter(codes.static_.floats(), rows, static_, static_cast<std::size_t>(s));
        scatter(codes.dynamic.floats(), rows, dynamic, width);
    }
    return {{{last - first, s}, std::move(static_)}, {{last - first, x.axis(1), d}, std::move(dynamic)}};
}

template <typename T>
Tensor with_zeros(const Shape& shape, std::vector<T> values, const std::vector<std::int64_t>& lengths,
                  std::int64_t first) {
    const auto sequence = static_cast<std::ptrdiff_t>(values.size()) / shape[0];
    for (std::int64_t row = 0; row < shape[0]; ++row) {
        const std::int64_t steps = lengths[static_cast<std::size_t>(first + row)];
        const auto begin = values.begin() + row * sequence;
        std::fill(begin + sequence / shape[1] * steps, begin + sequence, T{0});
    }
    return {shape, std::move(values)};
}

// The data set's own type; elements beyond a sequence's length are 0.
Tensor cast(const sdkit::Element& element, const Tensor& decoded, const Lengths& lengths, std::int64_t first) {
    Tensor x = element.cast(decoded);
    if (!lengths) return x;
    if (x.dtype() == sdkit::DType::uint8) return with_zeros(x.shape(), x.bytes(), *lengths, first);
    return with_zeros(x.shape(), x.floats(), *lengths, first);
}

std::string json_list(const std::vector<std::string>& texts) {
    return nlohmann::json(texts).dump(-1, ' ', true);  // ASCII, as h5py's users expect of JSON
}

void write_attributes(GrowingFile& target, const sdkit::Element& element, const SequenceFile& a,
                      const SequenceFile& b) {
    target.attribute("format", std::string("sdkit-swap"));
    target.attribute("version", std::int64_t{1});
    target.attribute("element", element.kind);
    target.attribute("units", json_list(element.units));
    target.attribute("feature_names", json_list(element.feature_names));
    target.attribute("classes", std::string("{}"));
    target.attribute("source",
                     "swapped: a = " + a.path().filename().string() + ", b = " + b.path().filename().string());
    for (const char* empty : {"name", "licence"}) target.attribute(empty, std::string());
    for (const char* scale : {"step", "bin_spacing"}) {
        if (const auto value = a.text(scale)) target.attribute(scale, *value);
    }
    if (const auto rate = a.number("rate"); rate && rate == b.number("rate")) target.attribute("rate", *rate);
}

volatile std::sig_atomic_t interrupted = 0;

int swap(const Arguments& arguments) {
    const sdkit::Runtime rt = open_runtime(arguments.bundle, arguments.options);
    rt.abilities().require("swap");
    std::cerr << rt.bundle().path().string() << ": " << rt.backend().name() << " on cpu\n";
    const SequenceFile a = open_file(arguments.files[0], rt.element()), b = open_file(arguments.files[1], rt.element());
    const std::int64_t count = pair_count(a, b, arguments.count);
    const std::string& output = arguments.files[2];
    for (const SequenceFile* input : {&a, &b}) {
        if (std::filesystem::exists(output) && std::filesystem::equivalent(output, input->path())) {
            throw sdkit::ConfigError(output + " is both input and output; choose another output");
        }
    }
    GrowingFile target(output, arguments.force);
    write_attributes(target, rt.element(), a, b);
    for (std::int64_t first = 0; first < count; first += rt.batch_size()) {
        if (interrupted != 0) throw sdkit::Error("interrupted; nothing was written");
        const std::int64_t last = std::min(first + rt.batch_size(), count);
        const Codes codes_a = encode_rows(rt, a, first, last), codes_b = encode_rows(rt, b, first, last);
        const Tensor ab = rt.decode({codes_a.static_, codes_b.dynamic});
        const Tensor ba = rt.decode({codes_b.static_, codes_a.dynamic});
        target.append("static_a_dynamic_b", cast(rt.element(), ab, b.lengths(), first));
        target.append("static_b_dynamic_a", cast(rt.element(), ba, a.lengths(), first));
    }
    const auto put_lengths = [&](const std::string& name, const Lengths& lengths) {
        if (lengths) target.put(name, {lengths->begin(), lengths->begin() + count});
    };
    put_lengths("static_a_dynamic_b_lengths", b.lengths());
    put_lengths("static_b_dynamic_a_lengths", a.lengths());
    target.finish();
    std::cerr << "wrote " << output << '\n';
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGINT, [](int) { interrupted = 1; });  // between two batches, so that the unfinished file is removed
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words == std::vector<std::string>{"--help"}) {
        std::cout << usage << '\n';
        return 0;
    }
    return guarded([&] { return swap(parse(words)); });
}
