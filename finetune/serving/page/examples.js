// Example texts that suit a model: its language, its labels or entity types, one text or two. GET /info tells them.

// [what a label or an entity type of the model has to be called, text, second text]; nothing to call: any will do.
const SINGLE = {
  en: [
    [/pos|neg|good|bad|star|senti|happy|angry|joy|anger/i, "The room was spotless, and the staff could not have been kinder."],
    [/pos|neg|good|bad|star|senti|happy|angry|joy|anger/i, "It broke after two days, and nobody answers my messages."],
    [/sport|football|soccer/i, "The home side won the final in extra time with ten players on the pitch."],
    [/business|financ|econom|market|money/i, "Shares rose by four per cent after the company reported higher profits."],
    [/tech|sci|computer|digital/i, "The new chip halves the power that the sensors on the satellite need."],
    [/politic|world|government|news/i, "The two ministers signed the treaty after a week of talks."],
    [/health|medic/i, "The trial found that the vaccine protects children for at least ten years."],
    [/travel|tour/i, "A night train takes you over the pass and down to the lake by breakfast."],
    [/music|film|movie|entertain|culture|art/i, "The museum shows the early drawings until the end of May."],
    [/spam|ham/i, "You have won a voucher: reply within an hour to claim your prize."],
    [/question|query|intent|service|order|refund|card|account/i, "Where can I change the address of my order?"],
    [null, "The parcel arrived on Tuesday, two days later than promised."],
    [null, "Please send me the minutes of yesterday's meeting."],
    [null, "The bridge is closed to lorries until the repairs are finished."],
  ],
  zh: [
    [/pos|neg|good|bad|star|senti|happy|angry|好|差|正|负|积极|消极|喜|怒/i, "酒店位置很好，房间干净，前台的服务也很热情。"],
    [/pos|neg|good|bad|star|senti|happy|angry|好|差|正|负|积极|消极|喜|怒/i, "电池用了两天就坏了，客服一直不回复。"],
    [/sport|体育|足球|篮球/i, "主队在加时赛中攻入一球，夺得冠军。"],
    [/financ|econom|stock|business|财经|经济|股票|金融|证券/i, "公司公布业绩后，股价当天上涨了百分之四。"],
    [/tech|sci|科技|数码|互联网/i, "新芯片让卫星上的传感器省电一半。"],
    [/politic|world|news|时政|国际|社会|军事|新闻/i, "两国部长经过一周的会谈签署了协议。"],
    [/edu|教育|校园|学/i, "今年的高考报名将于下周一开始。"],
    [/house|home|房产|家居/i, "新建小区的学校和地铁站将在年底投入使用。"],
    [/game|游戏/i, "这款游戏的新版本增加了双人模式。"],
    [/entertain|娱乐|明星|电影|文化|时尚/i, "博物馆的早期素描展将持续到五月底。"],
    [/health|medic|健康|医/i, "试验表明，这种疫苗对儿童的保护至少持续十年。"],
    [/travel|旅游/i, "夜班火车翻过山口，早餐时就到湖边了。"],
    [null, "包裹星期二才到，比约定的时间晚了两天。"],
    [null, "请把昨天的会议记录发给我。"],
    [null, "大桥维修期间禁止货车通行。"],
  ],
};

const NLI = /entail|contradict|neutral|蕴含|矛盾|中立/i;
const PAIRS = {
  en: [
    [NLI, "A woman is playing the violin on a stage.", "Somebody is making music."],
    [NLI, "A woman is playing the violin on a stage.", "The stage is empty."],
    [null, "How do I change my password?", "I forgot my login and need a new one."],
    [null, "Where does the ferry stop?", "The ferry stops at the old pier."],
    [null, "A dog runs along the beach.", "The committee met on Tuesday."],
  ],
  zh: [
    [NLI, "一位女士正在台上拉小提琴。", "有人在演奏音乐。"],
    [NLI, "一位女士正在台上拉小提琴。", "台上没有人。"],
    [null, "怎么修改密码？", "忘记密码了怎么办？"],
    [null, "轮渡停在哪里？", "轮渡停靠在老码头。"],
    [null, "两个孩子在公园里踢足球。", "委员会星期二开会。"],
  ],
};

const PERSON = /per|name|人/i, PLACE = /loc|gpe|place|地|address/i, GROUP = /org|company|机构|组织|公司/i;
const TAGGED = {
  en: [
    [PERSON, "Maria Keller spoke first, and Tom Adeyemi answered her."],
    [PLACE, "The road from Vienna to New York crosses no bridge."],
    [GROUP, "The Red Cross and the University of Lund share the building."],
    [/date|time/i, "The office opens on 3 May 2021 at half past nine."],
    [/prod|drug|chem|disease|gene|misc/i, "Aspirin is given for headache and fever."],
    [null, "Maria Keller moved from Vienna to New York and joined the Red Cross."],
    [null, "The committee of the Bank of Norway met in Oslo on Monday."],
    [null, "Ahmed took the train from Lyon to Geneva."],
  ],
  zh: [
    [PERSON, "李华和王小明在会上发了言。"],
    [PLACE, "他昨天从北京飞往上海。"],
    [GROUP, "国际红十字会和清华大学共用这座大楼。"],
    [/date|time|时间|日期/i, "办公室将于2021年5月3日上午九点半开门。"],
    [null, "王小明昨天从北京飞往上海，参加清华大学的校友会。"],
    [null, "国际红十字会的代表李华在日内瓦会见了当地的记者。"],
    [null, "陈立在南京大学学习了四年。"],
  ],
};

const ASKED = {
  en: [
    ["Who designed the bridge?", "The bridge over the Arne was opened in 1874. It was designed by the engineer Clara Voss and replaced a ferry that had crossed the river forty times a day."],
    ["How often did the ferry cross the river?", "The bridge over the Arne was opened in 1874. It was designed by the engineer Clara Voss and replaced a ferry that had crossed the river forty times a day."],
    ["When does the library close?", "From October the library opens at nine and closes at seven. On Saturdays it closes at noon."],
  ],
  zh: [
    ["大桥是谁设计的？", "这座大桥建于1957年，由工程师陈立设计，全长1670米。大桥建成以前，人们只能乘渡船过江，每天往返的渡船有四十多班。"],
    ["大桥有多长？", "这座大桥建于1957年，由工程师陈立设计，全长1670米。大桥建成以前，人们只能乘渡船过江，每天往返的渡船有四十多班。"],
    ["图书馆几点关门？", "从十月起，图书馆上午九点开门，晚上七点关门，星期六中午关门。"],
  ],
};

const COMPARED = {
  en: [
    ["How do I change my password?", "I forgot my login and need a new one.\nWhere can I buy a train ticket?\nThe weather will be fine tomorrow."],
    ["A dog runs along the beach.", "An animal is running by the sea."],
    ["Where does the ferry stop?", "The ferry stops at the old pier.\nThe mill was built in 1850.\nTickets are sold on board."],
  ],
  zh: [
    ["今天天气怎么样？", "明天会下雨吗？\n怎么修改密码？"],
    ["怎么修改密码？", "忘记密码了怎么办？\n在哪里买火车票？\n明天天气很好。"],
    ["轮渡停在哪里？", "轮渡停靠在老码头。\n磨坊建于1850年。\n票在船上卖。"],
  ],
};

const CHOSEN = {
  en: [
    ["The lamp in the hall went out, and so did the radio.", "Why?", "It was raining.\nThe power had failed.\nThe radio was new."],
    ["She put on her boots and took an umbrella.", "What will she do?", "go to sleep\ngo for a walk\nwash the dishes"],
    ["The soup boiled over.", "What happened then?", "The stove got wet.\nThe window broke."],
  ],
  zh: [
    ["女：这件衣服多少钱？男：打完折一百二。", "他们最可能在哪儿？", "商店\n医院\n学校\n车站"],
    ["她穿上雨靴，拿了一把伞。", "她要做什么？", "睡觉\n出门散步\n洗碗"],
    ["汤溢出来了。", "后来怎么样？", "炉子湿了。\n窗户破了。"],
  ],
};

const MOST = 5, FEWEST = 3;

// Those whose word the model knows; and, where they are fewer than three, as many that suit any model.
function fitting(list, words) {
  const own = list.filter(([wanted]) => wanted && words.some((word) => wanted.test(word))).slice(0, MOST);
  const any = list.filter(([wanted]) => !wanted).slice(0, Math.max(FEWEST - own.length, 0));
  return [...own, ...any];
}

const inLanguage = (lists, info) => lists[info.language] || lists.en;

// Examples of one text or of two; of a model that does not say which, of one, and a pair.
export function textsFor(info) {
  const words = info.labels || [];
  const pairs = fitting(inLanguage(PAIRS, info), words).map(([, text, other]) => ({ text, other }));
  if (info.pairs) return pairs;
  const single = fitting(inLanguage(SINGLE, info), words).map(([, text]) => ({ text }));
  return info.pairs === false ? single : [...single, pairs[0]];
}

export function scoredFor(info) {
  return info.pairs === false ? textsFor({ ...info, labels: ["senti"] }) : textsFor({ ...info, pairs: true });
}

export function taggedFor(info) {
  return fitting(inLanguage(TAGGED, info), info.entity_types || []).map(([, text]) => ({ text }));
}

export const askedFor = (info) => inLanguage(ASKED, info).map(([question, context]) => ({ question, context }));

export const comparedFor = (info) => inLanguage(COMPARED, info).map(([text, other]) => ({ text, other }));

export const chosenFor = (info) => inLanguage(CHOSEN, info).map(([text, other, choices]) => ({ text, other, choices }));
