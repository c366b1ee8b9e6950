"""The words of headers, with the field's name in ASCII, its English label, and what they promise of a column."""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Word:
    """A header's meaning: `kind` as in `kinds` (or empty), `type` what the column is to be read as, when it can be."""

    field: str
    label_en: str
    kind: str = ""
    type: str = ""


def _word(forms: str, field: str, label_en: str, kind: str = "", type_: str = "") -> tuple[re.Pattern[str], Word]:
    return re.compile(forms, re.IGNORECASE), Word(field, label_en, kind, type_)


# The first that is found in the header holds, so the particular stands before the general.
_WORDS: Final = (
    _word(
        "身份证|公民身份|居民身份|社会保障号|社保号码|id_?number|id_?card",
        "id_number",
        "citizen id number",
        "id_number",
        "person",
    ),
    _word(
        "(护照|港澳|通行证|居留证|军官证).*(号|码)|passport",
        "travel_document",
        "number of another document",
        "other_id",
        "code",
    ),
    _word("残疾|疾病|病种|病情|诊断|健康|血型|病历|医保病", "health", "health", "health"),
    _word("宗教|信仰|religion", "faith", "faith", "faith"),
    _word("照片|相片|指纹|人脸|虹膜|photo|fingerprint", "photo", "photograph or biometrics", "biometric"),
    _word(
        "银行卡|卡号|银行账|银行帐|收款账|开户账|账号|帐号|账户$|bank_?(card|account)",
        "bank_account",
        "bank account",
        "bank_card",
        "code",
    ),
    _word("开户行|开户银行|银行名称", "bank_name", "bank", "organisation"),
    _word("手机|联系电话|联系方式|电话|mobile|phone|^tel", "phone", "telephone", "phone", "code"),
    _word("邮箱|电子邮件|e-?mail", "email", "mail address", "email"),
    _word("车牌|号牌|plate", "plate", "vehicle plate", "plate"),
    _word(
        "统一社会信用|信用代码|纳税人识别|credit_?code",
        "credit_code",
        "unified social credit code",
        "credit_code",
        "code",
    ),
    _word("组织机构代码", "org_code", "organisation code", "organisation", "code"),
    _word("户号|户编号|家庭编号|household", "household_id", "household number", "household", "code"),
    _word("户主姓名|户主$", "head_name", "head of household", "name", "name"),
    _word(
        "(单位|机构|企业|公司|部门|学校|医院|局|站)名?称?$|公司|所属单位|organi[sz]ation|company",
        "organisation",
        "organisation",
        "organisation",
    ),
    _word("姓名|^名字|申请人$|联系人$|负责人$|法定代表人|监护人$|full_?name|^name$", "name", "name", "name", "name"),
    _word("性别|^sex$|gender", "sex", "sex", "sex", "sex"),
    _word("出生|生日|birth", "birth_date", "date of birth", "birth_date", "date"),
    _word("民族|ethnic", "ethnicity", "ethnicity", "ethnicity"),
    _word("年龄|^age$", "age", "age", "", "int"),
    _word("区划|行政区码|地区码|region", "region_code", "division code", "region", "code"),
    _word("住址|地址|住所|户籍地|居住地|坐落|address", "address", "address", "address"),
    _word("单价|price", "price", "price", "amount", "fen"),
    _word("工资|薪|收入|income|salary", "income", "income", "amount", "fen"),
    _word("余额|balance", "balance", "balance", "amount", "fen"),
    _word("补助|补贴|津贴|救助金|待遇|发放额|低保金|benefit", "benefit", "benefit", "amount", "fen"),
    _word("金额|款额|总额|费用|缴费|支出|应发|实发|amount|[（(]元[）)]|元$", "amount", "amount", "amount", "fen"),
    _word("月份|年月$|^月$|(?<![0-9一二三四五六七八九十])月$|所属期|费款期|month", "month", "month", "", "month"),
    _word("开始日期|起始日期|起始时间|生效", "valid_from", "from", "", "date"),
    _word("结束日期|截止日期|终止日期|失效", "valid_until", "until", "", "date"),
    _word("(申请|受理|登记)(日期|时间)", "applied_on", "date of application", "", "date"),
    _word("(发放|支付|缴费)(日期|时间)", "paid_on", "date of payment", "", "date"),
    _word("日期|时间|年月日|date", "date", "date", "", "date"),
    _word("年度|年份|^年$|year", "year", "year", "", "int"),
    _word("^序号$|^编?序$|^no\\.?$|^行号$", "serial_number", "running number", "serial_number", "int"),
    _word("(票据|凭证|发票|收据)(编?号|号码)", "receipt_number", "receipt number", "", "code"),
    _word("证件?(编?号|号码)", "document_number", "document number", "other_id", "code"),
    _word("编号|编码|代码|流水号|单号|^号码$|^id$|code$|number$", "code", "code", "", "code"),
    _word("与户主关系|关系", "relation", "relation"),
    _word("状态|status", "status", "status"),
    _word("类型|类别|种类|险种|type|category", "category", "category"),
    _word("数量|人数|户数|次数|count|quantity", "count", "count", "", "int"),
    _word("^(所属|所在)?(乡镇|街道|乡|镇|镇街)(街道)?(名|名称)?$", "township", "township", "region"),
    _word("^(所属|所在)?(行政)?(村|社区|村社区)(居)?(名|名称)?$", "village", "village", "region"),
    _word("^(所属|所在)?(省|市|县|区|省份|县区|区县|市县|市州)(名称)?$", "division", "division", "region"),
    _word("标题|题名|title", "title", "title"),
    _word("名称", "title", "title"),
    _word("备注|说明|摘要|remark|note|comment", "remark", "remark"),
)
_ASCII: Final = re.compile("[^a-z0-9]+")
_TEN_THOUSAND: Final = re.compile("万元")
_LONG_NUMBER: Final = re.compile("[0-9]{6}")
_LONGEST: Final = 40


def meaning(header: str) -> Word | None:
    """What a header without white space says, or None."""
    return next((word for form, word in _WORDS if form.search(header)), None)


def in_ten_thousands(text: str) -> bool:
    """Whether amounts are said to be in 万元, which no whole fen are made of here."""
    return bool(_TEN_THOUSAND.search(text))


def ascii_name(text: str) -> str:
    """A name of a-z, 0-9 and _ out of an ASCII text, or an empty string; never one with a long number in it."""
    plain = _ASCII.sub("_", text.lower()).strip("_")[:_LONGEST].strip("_") if text.isascii() else ""
    return plain if plain[:1].isalpha() and not _LONG_NUMBER.search(plain) else ""


_OF_KINDS: Final = {
    word.kind: word
    for word in (
        Word("id_number", "citizen id number", "id_number"),
        Word("phone", "telephone", "phone"),
        Word("bank_account", "bank account", "bank_card"),
        Word("email", "mail address", "email"),
        Word("plate", "vehicle plate", "plate"),
        Word("credit_code", "unified social credit code", "credit_code"),
        Word("address", "address", "address"),
        Word("name", "name", "name"),
    )
}


def name_of(word: Word | None, kind: str) -> Word | None:
    """What to call a column: by its header; where that says nothing, or only of some document, by what it holds."""
    vague = word is None or word.kind == "other_id"
    return _OF_KINDS.get(kind, word) if vague else word
